//! Everything the speaker measures, under MetalLB's names. One struct, handed to whoever counts; no statics.
//!
//! ```text
//! responders, announcer --Layer2Metrics--+
//! apply                 --announced------+--> Registry --> /metrics
//! owner                 --client---------+
//! membership task       --membership-----+
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use membership::counters::{Counted, Counters};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use runtime::metrics::{ConfigurationMetrics, EncodeLabelSet, Family, Gauge, GoCounter, Registry};

/// The metrics of a speaker. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// What happens on the wire.
    pub layer2: Layer2Metrics,
    /// What the speakers say to one another.
    pub membership: MembershipMetrics,
    announced: Family<AnnouncedLabels, Gauge>,
    not_announced: Family<SilentLabels, Gauge>,
    configuration: ConfigurationMetrics,
}

/// Counters of frames by address. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct Layer2Metrics {
    received: Family<IpLabel, GoCounter>,
    responded: Family<IpLabel, GoCounter>,
    gratuitous: Family<IpLabel, GoCounter>,
    dropped: Family<ReasonLabel, GoCounter>,
}

/// Why a frame was neither answered nor sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It came in and breaks the rules of its protocol.
    Malformed,
    /// It was to go out and this node had no leave to send.
    NoPermit,
}

impl Dropped {
    fn label(self) -> ReasonLabel {
        let reason = match self {
            Self::Malformed => "malformed",
            Self::NoPermit => "no_permit",
        };
        ReasonLabel { reason }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// How the talk among the speakers goes. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct MembershipMetrics {
    members: Gauge,
    pauses: Gauge,
    datagrams: Datagrams,
}

/// The counts of a membership that may start later; shows nothing until then.
#[derive(Debug, Clone, Default)]
struct Datagrams(Arc<OnceLock<Arc<Counters>>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IpLabel {
    ip: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnnouncedLabels {
    service: String,
    protocol: &'static str,
    node: String,
    ip: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SilentLabels {
    service: String,
    reason: &'static str,
}

impl Metrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self { configuration: ConfigurationMetrics::register(registry), ..Self::default() };
        let layer2 = &all.layer2;
        registry.register(
            "metallb_layer2_requests_received",
            "Number of layer2 requests received for owned IPs",
            layer2.received.clone(),
        );
        registry.register(
            "metallb_layer2_responses_sent",
            "Number of layer2 responses sent for owned IPs in response to requests",
            layer2.responded.clone(),
        );
        registry.register(
            "metallb_layer2_gratuitous_sent",
            "Number of gratuitous layer2 packets sent for owned IPs as a result of takeovers",
            layer2.gratuitous.clone(),
        );
        registry.register(
            "metallb_layer2_frames_dropped",
            "Number of layer2 frames that were malformed, or not sent for want of a permit",
            layer2.dropped.clone(),
        );
        for reason in [Dropped::Malformed, Dropped::NoPermit] {
            let _ = layer2.dropped.get_or_create(&reason.label());
        }
        registry.register(
            "metallb_speaker_announced",
            "Services that this node announces, by protocol and IP; absent when not announced",
            all.announced.clone(),
        );
        let membership = &all.membership;
        registry.register(
            "metallb_speaker_members",
            "Number of speakers that this one knows to be alive, itself included; 0 while it talks to nobody",
            membership.members.clone(),
        );
        registry.register(
            "metallb_speaker_pauses",
            "How often this speaker did not run for so long that it had to hear all others anew",
            membership.pauses.clone(),
        );
        registry.register(
            "metallb_speaker_membership_datagrams_total",
            "Number of datagrams between the speakers, by what became of them",
            membership.datagrams.clone(),
        );
        registry.register(
            "metallb_speaker_not_announced",
            "Services with an address that no node announces, by reason; shown by one speaker for all of them",
            all.not_announced.clone(),
        );
        all
    }

    /// Shows that `node` announces `ip` for `service` (`namespace/name`).
    pub fn announced(&self, service: String, protocol: &'static str, node: &str, ip: IpAddr) {
        self.announced.get_or_create(&labels(service, protocol, node, ip)).set(1);
    }

    /// Takes back what [`Metrics::announced`] showed: the series disappears.
    pub fn withdrawn(&self, service: String, protocol: &'static str, node: &str, ip: IpAddr) {
        self.announced.remove(&labels(service, protocol, node, ip));
    }

    /// Shows that no node announces `service` (`namespace/name`), for this reason.
    pub fn silent(&self, service: String, reason: &'static str) {
        self.not_announced.get_or_create(&SilentLabels { service, reason }).set(1);
    }

    /// Takes back what [`Metrics::silent`] showed: the series disappears.
    pub fn no_longer_silent(&self, service: String, reason: &'static str) {
        self.not_announced.remove(&SilentLabels { service, reason });
    }

    /// Counts processed changes of Kubernetes objects.
    pub fn updated(&self, count: u64) {
        self.configuration.updated(count);
    }

    /// Shows the state of the configuration; `problems` is the number of objects that are not in force.
    pub fn configuration(&self, problems: usize) {
        self.configuration.observe(true, problems > 0);
    }

    /// Counts changes that left `problems` objects not in force.
    pub fn update_failed(&self, problems: usize) {
        self.configuration.failed(u64::try_from(problems).unwrap_or(u64::MAX));
    }
}

fn labels(service: String, protocol: &'static str, node: &str, ip: IpAddr) -> AnnouncedLabels {
    AnnouncedLabels { service, protocol, node: node.to_owned(), ip: ip.to_string() }
}

impl Layer2Metrics {
    /// Counts a question about an announced address.
    pub fn received(&self, ip: IpAddr) {
        count(&self.received, ip);
    }

    /// Counts an answer.
    pub fn responded(&self, ip: IpAddr) {
        count(&self.responded, ip);
    }

    /// Counts a gratuitous frame.
    pub fn gratuitous(&self, ip: IpAddr) {
        count(&self.gratuitous, ip);
    }

    /// Counts a frame that was dropped.
    pub fn dropped(&self, why: Dropped) {
        self.dropped.get_or_create(&why.label()).inc();
    }
}

impl MembershipMetrics {
    /// Shows these counts from now on. Only the first call counts.
    pub fn started(&self, counters: Arc<Counters>) {
        let _ = self.datagrams.0.set(counters);
    }

    /// Shows how many members are alive, and how often this process had to begin anew.
    pub fn seen(&self, members: usize, pauses: u64) {
        self.members.set(i64::try_from(members).unwrap_or(i64::MAX));
        self.pauses.set(i64::try_from(pauses).unwrap_or(i64::MAX));
    }
}

impl TypedMetric for Datagrams {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Datagrams {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(counters) = self.0.get() else { return Ok(()) };
        for counted in Counted::ALL {
            // A gauge's encoding, because a counter's would append `_total` once more.
            let label = ResultLabel { result: counted.label() };
            encoder.encode_family(&label)?.encode_gauge(&counters.get(counted))?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

fn count(family: &Family<IpLabel, GoCounter>, ip: IpAddr) {
    family.get_or_create(&IpLabel { ip: ip.to_string() }).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_metallbs() {
        let mut registry = Registry::new();
        let metrics = Metrics::register(&mut registry);
        let ip = "192.0.2.10".parse().unwrap();
        metrics.layer2.received(ip);
        metrics.layer2.responded(ip);
        metrics.layer2.gratuitous(ip);
        metrics.layer2.dropped(Dropped::NoPermit);
        metrics.announced("default/web".to_owned(), "layer2", "node-a", ip);
        metrics.silent("default/db".to_owned(), "noEndpoint");
        metrics.configuration(0);
        assert!(!registry.encode().contains("membership_datagrams_total{"), "{}", registry.encode());
        metrics.membership.started(Arc::default());
        metrics.membership.seen(3, 1);
        let text = registry.encode();
        for line in [
            "metallb_layer2_requests_received{ip=\"192.0.2.10\"} 1",
            "metallb_layer2_responses_sent{ip=\"192.0.2.10\"} 1",
            "metallb_layer2_gratuitous_sent{ip=\"192.0.2.10\"} 1",
            "metallb_layer2_frames_dropped{reason=\"malformed\"} 0",
            "metallb_layer2_frames_dropped{reason=\"no_permit\"} 1",
            "metallb_speaker_announced{service=\"default/web\",protocol=\"layer2\",node=\"node-a\",ip=\"192.0.2.10\"} 1",
            "metallb_speaker_not_announced{service=\"default/db\",reason=\"noEndpoint\"} 1",
            "metallb_k8s_client_config_loaded_bool 1",
            "metallb_speaker_members 3",
            "metallb_speaker_pauses 1",
            "metallb_speaker_membership_datagrams_total{result=\"replayed\"} 0",
            "# TYPE metallb_speaker_membership_datagrams_total counter",
            "metallb_k8s_client_config_stale_bool 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        metrics.withdrawn("default/web".to_owned(), "layer2", "node-a", ip);
        metrics.no_longer_silent("default/db".to_owned(), "noEndpoint");
        let text = registry.encode();
        assert!(!text.contains("announced{"), "a series goes with what it told:\n{text}");
    }
}
