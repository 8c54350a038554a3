//! AdmissionReview, the apiserver's question and our answer.

use config::{Kind, ObjectId};
use kube::api::DynamicObject;
use kube::core::Status;
use kube::core::admission::{self, AdmissionRequest, AdmissionResponse, AdmissionReview};

use crate::admit::{Operation, Request, Snapshot, Verdict, admit};
use crate::object::{Object, api_resource};

/// A review that was understood.
pub(crate) struct Question {
    /// What to judge; an `Err` is an object that cannot be read, which is a denial and no protocol error.
    pub(crate) request: Result<Request, String>,
    /// What is done to the object.
    pub(crate) operation: Operation,
    envelope: AdmissionRequest<DynamicObject>,
}

/// The answer to the body of a call, without a server: what a fuzzer drives.
///
/// # Errors
/// As the server: one line that says what is wrong with the body.
pub fn answer(kind: Kind, body: &[u8], namespace: &str, snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let question = read(kind, body)?;
    let verdict = match &question.request {
        Ok(request) => admit(namespace, None, snapshot, request),
        Err(text) => Verdict::deny(text),
    };
    serde_json::to_vec(&question.answer(&verdict)).map_err(|error| error.to_string())
}

/// Reads the body of a call about objects of one kind.
///
/// # Errors
/// One line that says what is wrong with the body.
pub(crate) fn read(kind: Kind, body: &[u8]) -> Result<Question, String> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).map_err(|error| {
        format!("cannot read the AdmissionReview: {error}; only the Kubernetes apiserver calls this address")
    })?;
    let (api_version, types) = (review.types.api_version.clone(), review.types.kind.clone());
    if types != "AdmissionReview" || !matches!(api_version.as_str(), "admission.k8s.io/v1" | "admission.k8s.io/v1beta1")
    {
        return Err(format!("got {types:?} of {api_version:?}; send an AdmissionReview of admission.k8s.io/v1"));
    }
    let envelope: AdmissionRequest<DynamicObject> =
        review.try_into().map_err(|_| "the AdmissionReview has no request; send one".to_owned())?;
    let wanted = api_resource(kind).group;
    if envelope.kind.kind != kind.as_str() || envelope.kind.group != wanted {
        let (group, got) = (&envelope.kind.group, &envelope.kind.kind);
        return Err(format!("the request is about {got:?} of {group:?}; this path judges {kind} of {wanted}"));
    }
    let operation = match envelope.operation {
        admission::Operation::Create => Operation::Create,
        admission::Operation::Update => Operation::Update,
        admission::Operation::Delete => Operation::Delete,
        admission::Operation::Connect => return Err("CONNECT is not judged here; remove it from the rules".to_owned()),
    };
    let request = request(kind, operation, &envelope);
    Ok(Question { request, operation, envelope })
}

fn request(kind: Kind, operation: Operation, envelope: &AdmissionRequest<DynamicObject>) -> Result<Request, String> {
    let parse = |object: &Option<DynamicObject>| object.clone().map(|object| Object::parse(kind, object)).transpose();
    let object = parse(&envelope.object)?;
    // What is stored may be older than the schema; then there is nothing to compare with.
    let old = parse(&envelope.old_object).unwrap_or_default();
    let given = object.as_ref().or(old.as_ref()).map(Object::id);
    let mut id =
        ObjectId { kind, namespace: envelope.namespace.clone().unwrap_or_default(), name: envelope.name.clone() };
    // The name of an object with generateName stands only in the object.
    if let Some(given) = given.filter(|given| !given.name.is_empty()) {
        id.name = given.name;
    }
    Ok(Request { operation, id, object, old, dry_run: envelope.dry_run })
}

impl Question {
    /// The answer, in the version of the question.
    pub(crate) fn answer(&self, verdict: &Verdict) -> AdmissionReview<DynamicObject> {
        let mut response = AdmissionResponse::from(&self.envelope);
        if let Some(text) = &verdict.denied {
            response.allowed = false;
            response.result = Status::failure(text, "Forbidden").with_code(403);
        }
        response.warnings =
            (!verdict.warnings.is_empty()).then(|| verdict.warnings.iter().map(|text| one_line(text)).collect());
        response.into_review()
    }

    /// The answer when the change cannot be judged now.
    pub(crate) fn unable(&self, text: &str) -> AdmissionReview<DynamicObject> {
        let mut response = AdmissionResponse::from(&self.envelope);
        response.allowed = false;
        response.result = Status::failure(text, "InternalError").with_code(500);
        response.into_review()
    }
}

/// A warning travels in an HTTP header: the apiserver drops one that holds a line break or another control character, and
/// MetalLB's texts of two parts have one between them.
fn one_line(text: &str) -> String {
    let joined = text.lines().collect::<Vec<_>>().join("; ");
    joined.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_warning_is_one_line_of_printable_characters() {
        let text = "invalid community format: later\ninvalid community \"later\" in BGP advertisement";
        assert_eq!(one_line(text), "invalid community format: later; invalid community \"later\" in BGP advertisement");
        assert_eq!(one_line("a\r\nb\u{7}c"), "a; b c");
    }
}
