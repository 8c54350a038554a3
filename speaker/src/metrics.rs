//! Everything the speaker measures, under MetalLB's names. One struct, handed to whoever counts; no statics.
//!
//! ```text
//! responders, announcer --Layer2Metrics--+
//! apply                 --announced------+--> Registry --> /metrics
//! owner                 --client---------+
//! ```

use std::net::IpAddr;

use runtime::metrics::{ConfigurationMetrics, EncodeLabelSet, Family, Gauge, GoCounter, Registry};

/// The metrics of a speaker. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// What happens on the wire.
    pub layer2: Layer2Metrics,
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
            "metallb_speaker_announced",
            "Services that this node announces, by protocol and IP; absent when not announced",
            all.announced.clone(),
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
        metrics.announced("default/web".to_owned(), "layer2", "node-a", ip);
        metrics.silent("default/db".to_owned(), "noEndpoint");
        metrics.configuration(0);
        let text = registry.encode();
        for line in [
            "metallb_layer2_requests_received{ip=\"192.0.2.10\"} 1",
            "metallb_layer2_responses_sent{ip=\"192.0.2.10\"} 1",
            "metallb_layer2_gratuitous_sent{ip=\"192.0.2.10\"} 1",
            "metallb_speaker_announced{service=\"default/web\",protocol=\"layer2\",node=\"node-a\",ip=\"192.0.2.10\"} 1",
            "metallb_speaker_not_announced{service=\"default/db\",reason=\"noEndpoint\"} 1",
            "metallb_k8s_client_config_loaded_bool 1",
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
