//! Whether a change may be stored. Pure.
//!
//! ```text
//!  Snapshot ───────────────compile──▶ findings before ─┐   (once for each state of the store, when needed)
//!     └─ with the change ──compile──▶ findings after  ─┴─▶ new, about the changed object, Error or Policy ──▶ denied
//!                                                          everything else about it                     ──▶ warning
//! ```
//! What was wrong before the change does not stand in its way: a broken configuration can be mended step by step.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use config::{Class, Finding, Kind, ObjectId, Resources, frrk8s, metallb};

use crate::object::{Object, is_named_in, remove_from};
use crate::scope::{Scope, selects_nodes};

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

/// What a change is judged against: what is stored, and what there is to say about it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    resources: Resources,
    findings: [OnceLock<Vec<Finding>>; Scope::ALL.len()],
}

impl Snapshot {
    /// Of these resources; `nodes` are all nodes.
    pub fn new(resources: Resources) -> Self {
        Self { resources, findings: Default::default() }
    }

    /// What is stored.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// What is stored, to be changed.
    pub fn into_resources(self) -> Resources {
        self.resources
    }

    /// What there is to say about the objects in scope. Computed when it is first asked for.
    pub fn findings(&self, scope: Scope) -> &[Finding] {
        let place = Scope::ALL.iter().zip(&self.findings).find(|(one, _)| **one == scope).map(|(_, place)| place);
        place.map_or(&[], |place| place.get_or_init(|| scope.findings(&scope.of_resources(&self.resources))))
    }
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
    if id.kind == Kind::FRRConfiguration && id.namespace != namespace {
        // A foreign frr-k8s lives there and looks after its own.
        return Some(Verdict::allow());
    }
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
            Some(weigh(|| Cow::Owned(old), &metallb::check(new, external_namespace), id))
        }
        (None, Operation::Create | Operation::Update) => {
            Some(Verdict::deny(format!("{id}: the request has no object")))
        }
        (Some(_), Operation::Create | Operation::Update) | (_, Operation::Delete) => None,
    }
}

/// Judges a change against what is stored, and against what was admitted a moment ago and will be stored.
pub fn against(snapshot: &Snapshot, coming: &[&Object], request: &Request) -> Verdict {
    if request.operation == Operation::Delete {
        return deletion(snapshot, request);
    }
    let Some(object) = &request.object else {
        return Verdict::deny(format!("{}: the request has no object", request.id));
    };
    let stored = &snapshot.resources;
    let scope = Scope::narrowest(request.id.kind, stored, coming);
    let coming: Vec<&Object> = coming.iter().copied().filter(|object| scope.kinds().contains(&object.kind())).collect();
    let mut after = scope.of_resources(stored);
    let known_nodes = selects_nodes(&after);
    let is_before = match (&request.old, request.operation) {
        (Some(old), Operation::Update) => old.is_stored_in(&after),
        _ => !is_named_in(&after, &request.id),
    };
    let before = if is_before && (known_nodes || !object.selects_nodes()) {
        None
    } else {
        // What is stored is not what the apiserver compares with, or all of a sudden nodes matter.
        let mut before = after.clone();
        match (&request.old, request.operation) {
            (Some(old), Operation::Update) => old.clone().replace_in(&mut before),
            _ => remove_from(&mut before, request.id.kind, Some(&request.id.name)),
        }
        if object.selects_nodes() {
            before.nodes.clone_from(&stored.nodes);
        }
        after.nodes.clone_from(&before.nodes);
        Some(before)
    };
    if coming.iter().any(|other| other.selects_nodes()) {
        after.nodes.clone_from(&stored.nodes);
    }
    Object::replace_all_in(&coming, &mut after);
    object.clone().replace_in(&mut after);
    // Only an objection needs to know whether it is an old one.
    let before = || match &before {
        Some(before) => Cow::Owned(scope.findings(before)),
        None => Cow::Borrowed(snapshot.findings(scope)),
    };
    let mut verdict = weigh(before, &scope.findings(&after), &request.id);
    if let (Some(Object::FRRConfiguration(old)), Object::FRRConfiguration(new)) = (&request.old, object) {
        verdict.warnings.extend(frrk8s::change(old, new).iter().map(ToString::to_string));
    }
    verdict
}

/// Judges a change; see [`at_once`] and [`against`].
pub fn admit(namespace: &str, external_namespace: Option<&str>, snapshot: &Snapshot, request: &Request) -> Verdict {
    at_once(namespace, external_namespace, request).unwrap_or_else(|| against(snapshot, &[], request))
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
fn weigh<'a>(before: impl FnOnce() -> Cow<'a, [Finding]>, after: &[Finding], changed: &ObjectId) -> Verdict {
    type Key<'a> = (Class, &'a ObjectId, &'a [ObjectId], &'a str);
    fn key(finding: &Finding) -> Key<'_> {
        (finding.class, &finding.object, &finding.others, &finding.text)
    }
    let refuses = |finding: &Finding| matches!(finding.class, Class::Error | Class::Policy) && !finding.transient;
    let objects = after.iter().any(|finding| refuses(finding) && finding.involves(changed));
    let before = if objects { before() } else { Cow::Borrowed(&[][..]) };
    let old: BTreeSet<Key<'_>> = before.iter().map(key).collect();
    let (mut denials, mut warnings, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    for finding in after {
        let refuses = refuses(finding);
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
