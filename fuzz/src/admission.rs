//! The body of a call of the webhook: JSON that claims to be an AdmissionReview about an object of any kind.

use std::sync::LazyLock;

use config::{Kind, NodeLabels, Resources};
use serde_json::{Value, json};
use webhook::admit::Snapshot;
use webhook::object::Object;
use webhook::review::answer;

const NAMESPACE: &str = "metallb-system";
const KINDS: [Kind; 9] = [
    Kind::IPAddressPool,
    Kind::AddressPool,
    Kind::L2Advertisement,
    Kind::BGPAdvertisement,
    Kind::BGPPeer,
    Kind::BFDProfile,
    Kind::Community,
    Kind::MetalLB,
    Kind::FRRConfiguration,
];

/// Objects of several kinds that changes can clash with.
static STORED: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut resources = Resources { nodes: vec![node("n1"), node("n2")], ..Resources::default() };
    let objects = [
        ("IPAddressPool", json!({"addresses": ["10.0.0.0/24", "fc00::/120"]})),
        ("BGPAdvertisement", json!({"localPref": 100, "communities": ["alias"]})),
        ("L2Advertisement", json!({"ipAddressPools": ["stored"]})),
        ("BGPPeer", json!({"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", "bfdProfile": "stored"})),
        ("BFDProfile", json!({})),
        ("Community", json!({"communities": [{"name": "alias", "value": "1:2"}]})),
        (
            "FRRConfiguration",
            json!({"bgp": {"routers": [{"asn": 64500, "prefixes": ["10.0.0.0/24"],
            "neighbors": [{"asn": 64501, "address": "192.0.2.1"}]}]}}),
        ),
    ];
    for (kind, spec) in objects {
        let document = json!({"apiVersion": "any/v1", "kind": kind,
            "metadata": {"name": "stored", "namespace": NAMESPACE}, "spec": spec});
        let object = KINDS.iter().find(|known| known.as_str() == kind).and_then(|kind| {
            let dynamic = serde_json::from_value(document).ok()?;
            Object::parse(*kind, dynamic).ok()
        });
        if let Some(object) = object {
            object.add_to(&mut resources);
        }
    }
    assert_eq!(resources.frr_configurations.len() + resources.peers.len() + resources.pools.len(), 3);
    Snapshot::new(resources)
});

fn node(name: &str) -> NodeLabels {
    NodeLabels { name: name.to_owned(), labels: [("host".to_owned(), name.to_owned())].into() }
}

/// Answers the call and checks the answer.
pub fn run(data: &[u8]) {
    // Fields that nobody reads are not looked into, so a call may be understood that is not JSON throughout.
    let whole = serde_json::from_slice::<Value>(data);
    let asked = whole.as_ref().cloned().unwrap_or_default();
    let about = &asked["request"]["kind"]["kind"];
    let kind = KINDS.into_iter().find(|kind| about == kind.as_str()).unwrap_or(Kind::BGPPeer);
    match answer(kind, data, NAMESPACE, &STORED) {
        Err(text) => assert!(!text.is_empty() && !text.contains('\n'), "{text:?}"),
        Ok(body) => {
            assert_eq!(
                answer(kind, data, NAMESPACE, &STORED).as_ref(),
                Ok(&body),
                "another answer to the same question"
            );
            let review = serde_json::from_slice(&body).unwrap_or_default();
            if whole.is_ok() {
                check(&asked, &review);
            }
        }
    }
}

fn check(asked: &Value, review: &Value) {
    let response = &review["response"];
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["apiVersion"], asked["apiVersion"]);
    assert_eq!(response["uid"], asked["request"]["uid"]);
    let allowed = response["allowed"].as_bool();
    assert!(allowed.is_some(), "{response}");
    let message = response["status"]["message"].as_str().unwrap_or_default();
    assert!(allowed == Some(true) || !message.is_empty(), "refused without a reason: {response}");
    let warnings = response["warnings"].as_array();
    assert!(warnings.is_none_or(|warnings| warnings.len() <= 8), "{response}");
}
