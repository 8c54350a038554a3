//! What is done: commands to the announcer, metrics, events and log lines.
//!
//! ```text
//! [Action] --> one batch of Commands to l2::announcer
//!          --> gauges metallb_speaker_announced and _not_announced, events nodeAssigned and announceFailed, log lines
//!          --> status::Desk (ServiceL2Status)   tell::Complaints (event notAnnounced)
//! ```

use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{EventType, Publisher};
use tokio::sync::mpsc::UnboundedSender;

use crate::announce::LAYER2;
use crate::announce::silence::Silence;
use crate::l2::announcer::{Command, Report};
use crate::metrics::Metrics;
use crate::plan::Action;
use crate::problem::Problem;
use crate::state::{ServiceKey, State};
use crate::status::Desk;
use crate::tell::{Complaint, Complaints};

/// Reason of the event about an address that another host uses.
const ADDRESS_CONFLICT: &str = "addressConflict";

/// The ways out of the speaker.
pub struct Apply {
    /// To the network.
    pub commands: UnboundedSender<Vec<Command>>,
    /// Ask the network whether another host has an address before it is announced for the first time.
    pub probes: bool,
    /// To Prometheus.
    pub metrics: Metrics,
    /// To the users.
    pub events: Publisher,
    /// To the ServiceL2Statuses.
    pub statuses: Desk,
    /// To the users, about Services that nobody announces.
    pub complaints: Complaints,
}

impl Apply {
    /// Does the actions in their order. Nothing here can fail or wait.
    pub fn all(&self, state: &State, actions: Vec<Action>) {
        let mut batch = Vec::new();
        for action in actions {
            match action {
                Action::Announce { ip, interfaces, first } => {
                    let probe = first && self.probes;
                    batch.push(Command::Announce { ip, interfaces, probe });
                }
                Action::Withdraw { ip } => batch.push(Command::Withdraw { ip }),
                Action::Tell { ip } => batch.push(Command::Tell { ip }),
                Action::Hush { ip } => batch.push(Command::Hush { ip }),
                Action::Started { service, ips } => {
                    for ip in &ips {
                        self.metrics.announced(service.to_string(), LAYER2, state.node(), *ip);
                    }
                    tracing::info!(event = "serviceAnnounced", service = %service, ips = ?ips, protocol = LAYER2,
                        "service has IP, announcing");
                    self.event(state, &service, EventType::Normal, "nodeAssigned", &assigned(state.node()));
                }
                Action::Stopped { service, ips, reason } => {
                    for ip in &ips {
                        self.metrics.withdrawn(service.to_string(), LAYER2, state.node(), *ip);
                    }
                    tracing::info!(event = "serviceWithdrawn", service = %service, ips = ?ips, protocol = LAYER2,
                        reason = %reason, detail = reason.detail(), "withdrawing service announcement");
                }
                Action::Show { service, stand } => self.statuses.stand(service, stand),
                Action::Explain { service, reason } => {
                    tracing::debug!(event = "notAnnouncing", service = %service, protocol = LAYER2, reason = %reason,
                        detail = reason.detail(), "not announcing service from this node");
                }
                Action::Silent { service, before, now } => self.silent(state, service, before, now),
                Action::MissingInterfaces { service, ip } => {
                    let text = missing(&ip.to_string(), state.node());
                    tracing::warn!(event = "announceFailed", service = %service, ip = %ip, protocol = LAYER2, "{text}");
                    self.event(state, &service, EventType::Warning, "announceFailed", &text);
                }
            }
        }
        if !batch.is_empty() && self.commands.send(batch).is_err() {
            // The announcer's end ends the process; until then there is nobody to tell.
            tracing::error!(event = "announce", "the layer 2 announcer is gone");
        }
        if state.is_complete() {
            self.statuses.live(&state.candidates().speakers().collect());
        }
    }

    fn silent(&self, state: &State, service: ServiceKey, before: Option<Silence>, now: Option<Silence>) {
        let reason = |silence: &Option<Silence>| silence.as_ref().map(Silence::reason);
        if reason(&before) != reason(&now) {
            if let Some(reason) = reason(&before) {
                self.metrics.no_longer_silent(service.to_string(), reason);
            }
            if let Some(reason) = reason(&now) {
                self.metrics.silent(service.to_string(), reason);
            }
        }
        match &now {
            Some(silence) => tracing::info!(event = "notAnnounced", service = %service, reason = silence.reason(),
                "no node announces the service: {silence}"),
            None => tracing::info!(event = "notAnnouncedEnds", service = %service,
                "the service is announced or gone, or another node tells about it"),
        }
        // What is wrong with interfaces has an event of its own, as in MetalLB.
        let telling = now.filter(|silence| !matches!(silence, Silence::NoInterface(_)));
        let complaint =
            telling.map(|silence| Complaint { object: subject(state, &service), text: silence.to_string() });
        self.complaints.put(service, complaint);
    }

    /// Tells that another host uses an address of these Services, or that this is over.
    pub fn conflict<'a>(&self, state: &State, services: impl Iterator<Item = &'a ServiceKey>, report: &Report) {
        match report {
            Report::Conflict { ip, mac, interface, announced } => {
                let text = conflict(&ip.to_string(), &mac.to_string(), interface, state.node(), *announced);
                tracing::warn!(event = ADDRESS_CONFLICT, ip = %ip, mac = %mac, interface, announced, "{text}");
                services.for_each(|service| self.event(state, service, EventType::Warning, ADDRESS_CONFLICT, &text));
            }
            Report::Resolved { ip } => {
                tracing::info!(event = ADDRESS_CONFLICT, ip = %ip, "nobody else uses the address any more, announcing it");
            }
        }
    }

    /// Tells that an object is not in force. All speakers see the same, so they tell it together.
    pub fn problem(&self, problem: &Problem) {
        tracing::error!(event = "configuration", "configuration error: {problem}");
        if let Some(object) = problem.subject() {
            self.events.publish_with_others(&object, EventType::Warning, "ConfigurationError", problem.text());
        }
    }

    fn event(&self, state: &State, service: &ServiceKey, kind: EventType, reason: &str, message: &str) {
        self.events.publish(&subject(state, service), kind, reason, message);
    }
}

fn subject(state: &State, service: &ServiceKey) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(service.namespace.clone()),
        name: Some(service.name.clone()),
        uid: state.uid(service).map(str::to_owned),
        ..ObjectReference::default()
    }
}

/// Text of the event about another host with an address of ours (RFC 5227).
fn conflict(ip: &str, mac: &str, interface: &str, node: &str, announced: bool) -> String {
    let what =
        format!("another host with hardware address {mac} uses LB IP {ip:?}, seen by node {node:?} on {interface}");
    let then = if announced { "both answer for it" } else { "it is not announced until that host lets it go" };
    format!("{what}; {then}: remove the address there, or take it out of the IPAddressPool")
}

/// MetalLB's text of the event that names the announcing node; tests and people look for the quoted name.
fn assigned(node: &str) -> String {
    format!("announcing from node {node:?} with protocol {LAYER2:?}")
}

/// MetalLB's text of the event about an address that only missing interfaces may answer.
fn missing(ip: &str, node: &str) -> String {
    format!("the interfaces specified by LB IP {ip:?} doesn't exist in assigned node {node:?} with protocol {LAYER2:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_texts_are_metallbs() {
        assert_eq!(assigned("node-a"), "announcing from node \"node-a\" with protocol \"layer2\"");
        assert_eq!(
            missing("192.0.2.1", "node-a"),
            "the interfaces specified by LB IP \"192.0.2.1\" doesn't exist in assigned node \"node-a\" with protocol \
             \"layer2\""
        );
    }
}
