//! Whether a change may be stored. Pure.
//!
//! ```text
//!  Snapshot ───────────────compile──▶ findings before ─┐
//!     └─ with the change ──compile──▶ findings after  ─┴─▶ new, about the changed object, Error or Policy ──▶ denied
//!                                                          everything else about it                     ──▶ warning
//! ```
//! What was wrong before the change does not stand in its way: a broken configuration can be mended step by step.

use std::collections::BTreeSet;

use config::{Class, Finding, Kind, ObjectId, Resources, compile, metallb};

use crate::object::{Object, remove_from};

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It replaces what is stored.
    Update,
    /// It goes.
    Delete,
}

/// One change that wants to be stored.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is done.
    pub operation: Operation,
    /// Kind, namespace and name of the object.
    pub id: ObjectId,
    /// The object as it shall be; absent when it goes.
    pub object: Option<Object>,
    /// The object as it is; absent when it is new.
    pub old: Option<Object>,
    /// The change is only tried.
    pub dry_run: bool,
}

/// What a change is judged against.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The one namespace whose objects count.
    pub namespace: String,
    /// What is stored there.
    pub resources: Resources,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the change is refused; `None` when it is not.
    pub denied: Option<String>,
    /// What the user should know either way.
    pub warnings: Vec<String>,
}

/// At most this many warnings are given, and as much of a longer list as fits.
const MOST_WARNINGS: usize = 8;

impl Verdict {
    /// No objection.
    pub fn allow() -> Self {
        Self::default()
    }

    /// A refusal.
    pub fn deny(text: impl Into<String>) -> Self {
        Self { denied: Some(text.into()), warnings: Vec::new() }
    }

    /// Whether the change may be stored.
    pub fn is_allowed(&self) -> bool {
        self.denied.is_none()
    }

    fn warn(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }
}

/// Judges what needs no look at other objects; `None` when it takes one.
pub fn at_once(namespace: &str, external_namespace: Option<&str>, request: &Request) -> Option<Verdict> {
    let id = &request.id;
    if id.namespace != namespace {
        return Some(match request.operation {
            Operation::Create => {
                let text = format!("resource must be created in {namespace} namespace");
                Verdict::deny(format!(
                    "{text}; {id} is in {}",
                    if id.namespace.is_empty() { "none" } else { &id.namespace }
                ))
            }
            Operation::Update => {
                Verdict::allow().warn(format!("{id} has no effect: it is not in the namespace {namespace}"))
            }
            Operation::Delete => Verdict::allow(),
        });
    }
    match (&request.object, request.operation) {
        (_, Operation::Delete) if id.kind != Kind::BFDProfile => Some(Verdict::allow()),
        // Only finalizers are left to go; nothing that is still in the object matters any more.
        (Some(object), _) if object.is_being_deleted() => Some(Verdict::allow()),
        (Some(Object::MetalLB(new)), _) => {
            let old = match &request.old {
                Some(Object::MetalLB(old)) => metallb::check(old, external_namespace),
                Some(_) | None => Vec::new(),
            };
            Some(weigh(&old, &metallb::check(new, external_namespace), id))
        }
        (None, Operation::Create | Operation::Update) => {
            Some(Verdict::deny(format!("{id}: the request has no object")))
        }
        (Some(_), Operation::Create | Operation::Update) | (_, Operation::Delete) => None,
    }
}

/// Judges a change against what is stored.
pub fn against(snapshot: &Snapshot, request: &Request) -> Verdict {
    if request.operation == Operation::Delete {
        return deletion(snapshot, request);
    }
    let Some(object) = &request.object else {
        return Verdict::deny(format!("{}: the request has no object", request.id));
    };
    let mut before = snapshot.resources.clone();
    match (&request.old, request.operation) {
        (Some(old), Operation::Update) => old.clone().replace_in(&mut before),
        _ => remove_from(&mut before, request.id.kind, Some(&request.id.name)),
    }
    let mut after = before.clone();
    object.clone().replace_in(&mut after);
    weigh(&compile(&before).findings, &compile(&after).findings, &request.id)
}

/// Judges a change; see [`at_once`] and [`against`].
pub fn admit(snapshot: &Snapshot, external_namespace: Option<&str>, request: &Request) -> Verdict {
    at_once(&snapshot.namespace, external_namespace, request).unwrap_or_else(|| against(snapshot, request))
}

/// A BFD profile that a peer uses must stay: the session would lose its failure detection.
fn deletion(snapshot: &Snapshot, request: &Request) -> Verdict {
    let name = &request.id.name;
    let peers = &snapshot.resources.peers;
    match peers.iter().find(|peer| peer.spec.bfd_profile.as_ref() == Some(name)) {
        Some(peer) if request.id.kind == Kind::BFDProfile => {
            let peer = peer.metadata.name.as_deref().unwrap_or_default();
            let text = format!("failed to delete BFDProfile {name}, used by BGPPeer {peer}");
            Verdict::deny(format!("{text}; remove spec.bfdProfile there first"))
        }
        Some(_) | None => Verdict::allow(),
    }
}

/// Compares findings. The field is no part of their identity: taking one entry out of a list moves the others.
fn weigh(before: &[Finding], after: &[Finding], changed: &ObjectId) -> Verdict {
    type Key<'a> = (Class, &'a ObjectId, &'a [ObjectId], &'a str);
    fn key(finding: &Finding) -> Key<'_> {
        (finding.class, &finding.object, &finding.others, &finding.text)
    }
    let old: BTreeSet<Key<'_>> = before.iter().map(key).collect();
    let (mut denials, mut warnings, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    for finding in after {
        let refuses = matches!(finding.class, Class::Error | Class::Policy) && !finding.transient;
        if !finding.involves(changed) {
            if refuses {
                elsewhere.push(finding.to_string());
            }
        } else if refuses && !old.contains(&key(finding)) {
            denials.push(finding.to_string());
        } else {
            warnings.push(finding.to_string());
        }
    }
    warnings.extend(elsewhere);
    if warnings.len() > MOST_WARNINGS {
        let left = warnings.len() - MOST_WARNINGS + 1;
        warnings.truncate(MOST_WARNINGS - 1);
        warnings.push(format!("and {left} more problems in the stored configuration"));
    }
    Verdict { denied: (!denials.is_empty()).then(|| denials.join("\n")), warnings }
}
