//! What is done: commands to the announcer, metrics, events and log lines.
//!
//! ```text
//! [Action] --> one batch of Commands to l2::announcer
//!          --> gauge metallb_speaker_announced, events nodeAssigned and announceFailed, one log line each
//! ```

use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{EventType, Publisher};
use tokio::sync::mpsc::UnboundedSender;

use crate::announce::LAYER2;
use crate::l2::announcer::Command;
use crate::metrics::Metrics;
use crate::plan::Action;
use crate::problem::Problem;
use crate::state::{ServiceKey, State};

/// The ways out of the speaker.
pub struct Apply {
    /// To the network.
    pub commands: UnboundedSender<Vec<Command>>,
    /// To Prometheus.
    pub metrics: Metrics,
    /// To the users.
    pub events: Publisher,
}

impl Apply {
    /// Does the actions in their order. Nothing here can fail or wait.
    pub fn all(&self, state: &State, actions: Vec<Action>) {
        let mut batch = Vec::new();
        for action in actions {
            match action {
                Action::Announce { ip, interfaces } => {
                    batch.push(Command::Announce { ip, interfaces, probe: false });
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
    }

    /// Tells that an object is not in force. All speakers see the same, so they tell it together.
    pub fn problem(&self, problem: &Problem) {
        tracing::error!(event = "configuration", "configuration error: {problem}");
        if let Some(object) = problem.subject() {
            self.events.publish_with_others(&object, EventType::Warning, "ConfigurationError", problem.text());
        }
    }

    fn event(&self, state: &State, service: &ServiceKey, kind: EventType, reason: &str, message: &str) {
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(service.namespace.clone()),
            name: Some(service.name.clone()),
            uid: state.uid(service).map(str::to_owned),
            ..ObjectReference::default()
        };
        self.events.publish(&object, kind, reason, message);
    }
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
