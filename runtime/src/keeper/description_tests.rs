use super::*;

const WORDING: Wording = Wording {
    condition: "reconcilerValid",
    good: "Reconciled",
    bad: "ConfigurationError",
    prefix: "configuration error: ",
    all: "example.com/AllErrors",
    all_reason: "MoreErrors",
};

fn identity() -> Identity {
    Identity {
        api_version: "example.com/v1".into(),
        kind: "State".into(),
        name: "one".into(),
        status_manager: "reconciler".into(),
    }
}

fn described(errors: &[&str]) -> Description {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Description {
        labels: BTreeMap::from([("example.com/part".into(), "controller".into())]),
        owner: Some(super::super::owner("pod-a".into(), "uid-a".into())),
        verdict: Verdict::of(WORDING, &errors),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + second, 0).unwrap()
}

/// What an apiserver makes of a write: applied fields replace what was applied before.
fn store(object: Option<Value>, write: Write) -> Value {
    let mut object = object.unwrap_or_else(|| json!({}));
    match write {
        Write::Object(body) => object["metadata"] = body["metadata"].clone(),
        Write::Status(body) => {
            let conditions = body["status"]["conditions"].as_array().into_iter().flatten();
            let mut fields = json!({"f:conditions": {}});
            for condition in conditions {
                fields["f:conditions"][format!("k:{{\"type\":{}}}", condition["type"])] = json!({});
            }
            if body["status"].get("errorSummary").is_some() {
                fields["f:errorSummary"] = json!({});
            }
            object["status"] = body["status"].clone();
            object["metadata"]["managedFields"] = json!([{"manager": "reconciler", "operation": "Apply",
                "subresource": "status", "fieldsV1": {"f:status": fields}}]);
        }
        Write::Remove(body) => {
            for (key, value) in body["status"].as_object().unwrap() {
                if value.is_null() {
                    object["status"].as_object_mut().unwrap().remove(key);
                } else {
                    object["status"][key] = value.clone();
                }
            }
        }
    }
    object
}

/// Writes until nothing is left; returns the object and how many writes it took.
fn settle(mut object: Option<Value>, description: &Description, now: Timestamp) -> (Value, usize) {
    for writes in 0..5 {
        match difference(&identity(), description, object.as_ref(), now) {
            None => return (object.unwrap(), writes),
            Some(write) => object = Some(store(object, write)),
        }
    }
    panic!("never settles: {object:?}");
}

#[test]
fn without_errors_there_is_one_condition_with_an_empty_message_and_no_summary() {
    let (object, writes) = settle(None, &described(&[]), at(0));
    assert_eq!(writes, 2);
    assert_eq!(
        object["status"],
        json!({"result": "Valid", "conditions": [{"type": "reconcilerValid", "status": "True", "reason": "Reconciled",
            "message": "", "lastTransitionTime": "2027-01-15T08:00:00Z"}]})
    );
    assert_eq!(
        object["metadata"]["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "pod-a", "uid": "uid-a"}])
    );
    assert_eq!(object["metadata"]["labels"], json!({"example.com/part": "controller"}));
    assert!(object["metadata"].get("annotations").is_none() && object["metadata"].get("finalizers").is_none());
}

#[test]
fn the_first_error_is_the_message_and_all_of_them_stand_in_a_second_condition() {
    let (object, _) = settle(None, &described(&["peer a is wrong", "pool b is wrong"]), at(0));
    let status = &object["status"];
    assert_eq!(
        (status["result"].as_str(), status["errorSummary"].as_str()),
        (Some("Invalid"), Some("configuration error: peer a is wrong"))
    );
    let conditions = status["conditions"].as_array().unwrap();
    let of = |index: usize| {
        (
            conditions[index]["type"].as_str().unwrap(),
            conditions[index]["status"].as_str().unwrap(),
            conditions[index]["reason"].as_str().unwrap(),
            conditions[index]["message"].as_str().unwrap(),
        )
    };
    assert_eq!(of(0), ("reconcilerValid", "False", "ConfigurationError", "configuration error: peer a is wrong"));
    assert_eq!(of(1), ("example.com/AllErrors", "False", "MoreErrors", "peer a is wrong\npool b is wrong"));
    let (object, writes) = settle(Some(object), &described(&["peer a is wrong"]), at(1));
    assert_eq!((writes, object["status"]["conditions"].as_array().unwrap().len()), (1, 1));
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let description = described(&["peer a is wrong"]);
    let (object, _) = settle(None, &description, at(0));
    assert_eq!(difference(&identity(), &description, Some(&object), at(60)), None);
}

#[test]
fn the_time_of_a_condition_changes_with_its_status_only() {
    let time = |object: &Value| object["status"]["conditions"][0]["lastTransitionTime"].clone();
    let (first, _) = settle(None, &described(&["a"]), at(0));
    let (second, _) = settle(Some(first.clone()), &described(&["b"]), at(60));
    assert_eq!(time(&first), time(&second));
    let (third, _) = settle(Some(second.clone()), &described(&[]), at(120));
    assert_ne!(time(&second), time(&third));
    assert!(third["status"].get("errorSummary").is_none());
}

#[test]
fn what_somebody_else_changed_is_put_right() {
    let description = described(&["a"]);
    let (right, _) = settle(None, &description, at(0));
    for (path, value) in [
        ("/status/result", json!("Valid")),
        ("/status/errorSummary", json!("fine")),
        ("/status/conditions", json!([])),
        ("/status/conditions/0/message", json!("fine")),
        ("/metadata/labels", json!({})),
        ("/metadata/ownerReferences", json!([])),
    ] {
        let mut wrong = right.clone();
        *wrong.pointer_mut(path).unwrap() = value;
        let (object, _) = settle(Some(wrong), &description, at(0));
        assert_eq!(object["status"], right["status"], "{path}");
        assert_eq!(object["metadata"]["labels"], right["metadata"]["labels"], "{path}");
        assert_eq!(object["metadata"]["ownerReferences"], right["metadata"]["ownerReferences"], "{path}");
    }
}

#[test]
fn a_foreign_summary_and_a_foreign_list_of_errors_go_away() {
    let description = described(&[]);
    let (mut object, _) = settle(None, &description, at(0));
    object["status"]["errorSummary"] = json!("made up");
    object["status"]["conditions"].as_array_mut().unwrap().extend([
        json!({"type": "example.com/AllErrors", "status": "False", "reason": "X", "message": "made up"}),
        json!({"type": "somebody.else/Opinion", "status": "True", "reason": "X", "message": ""}),
    ]);
    let (object, _) = settle(Some(object), &description, at(0));
    assert!(object["status"].get("errorSummary").is_none());
    let kinds: Vec<_> = object["status"]["conditions"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
    assert_eq!(kinds, ["reconcilerValid", "somebody.else/Opinion"]);
}

#[test]
fn before_the_first_look_the_result_is_unknown_but_an_older_verdict_stays() {
    let unknown = Description { verdict: Verdict::unknown(), ..described(&[]) };
    let (object, _) = settle(None, &unknown, at(0));
    assert_eq!(object["status"], json!({"result": "Unknown"}));
    let (known, _) = settle(Some(object), &described(&["a"]), at(0));
    assert_eq!(difference(&identity(), &unknown, Some(&known), at(1)), None);
}

#[test]
fn another_pod_adopts_the_object_and_keeps_its_verdict() {
    let (object, _) = settle(None, &described(&["a"]), at(0));
    let owner = Some(super::super::owner("pod-b".into(), "uid-b".into()));
    let (adopted, writes) = settle(Some(object.clone()), &Description { owner, ..described(&["a"]) }, at(9));
    assert_eq!((writes, &adopted["status"]), (1, &object["status"]));
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], "uid-b");
}

#[test]
fn ten_thousand_errors_fit_into_what_the_apiserver_takes() {
    let errors: Vec<String> = (0..10_000).map(|number| format!("pool pool-{number} is wrong")).collect();
    let text = joined(&errors);
    assert!(text.len() <= MESSAGE_LIMIT, "{}", text.len());
    let shown = text.lines().count() - 1;
    assert!(text.ends_with(&format!("\nand {} more", 10_000 - shown)), "{}", &text[text.len() - 40..]);
    let long = Verdict::of(WORDING, &["é".repeat(40_000)]);
    assert!(long.summary.is_some_and(|summary| summary.len() <= MESSAGE_LIMIT && summary.ends_with("é...")));
}
