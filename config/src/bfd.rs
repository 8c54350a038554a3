//! BFD profiles (RFC 5880 timers).

use std::collections::BTreeMap;

use api::v1beta1;

use crate::finding::{Class, Finding};
use crate::model::BfdProfile;
use crate::source::Source;

/// All valid profiles by name.
pub(crate) fn compile(
    sources: &[Source<'_, v1beta1::BFDProfile>],
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, BfdProfile> {
    let mut profiles: BTreeMap<String, BfdProfile> = BTreeMap::new();
    // MetalLB counts profiles in the order of their names.
    let mut by_name: Vec<_> = sources.iter().collect();
    by_name.sort_by(|a, b| a.name().cmp(b.name()));
    for (index, source) in by_name.into_iter().enumerate() {
        let name = source.name();
        let mut good = true;
        for (field, text) in errors(name, &source.object.spec) {
            let text = format!("parsing bfd profile #{}: {text}", index + 1);
            let mut finding = Finding::new(Class::Error, &source.id, field, text);
            if !name.is_empty() {
                finding = finding.detail(format!("{} of {}", field, source.id));
            }
            findings.push(finding);
            good = false;
        }
        if profiles.contains_key(name) {
            let text = format!("found duplicate bfd profile name {name}");
            findings.push(Finding::new(Class::Error, &source.id, "metadata.name", text));
            good = false;
        }
        if good {
            profiles.insert(name.to_owned(), profile(name, &source.object.spec));
        }
    }
    profiles
}

fn profile(name: &str, spec: &v1beta1::BFDProfileSpec) -> BfdProfile {
    BfdProfile {
        name: name.to_owned(),
        receive_interval: spec.receive_interval,
        transmit_interval: spec.transmit_interval,
        detect_multiplier: spec.detect_multiplier,
        echo_interval: spec.echo_interval,
        echo_mode: spec.echo_mode.unwrap_or(false),
        passive_mode: spec.passive_mode.unwrap_or(false),
        minimum_ttl: spec.minimum_ttl,
    }
}

fn errors(name: &str, spec: &v1beta1::BFDProfileSpec) -> Vec<(&'static str, String)> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(("metadata.name", "missing bfd profile name".to_owned()));
    }
    let limits = [
        ("spec.detectMultiplier", spec.detect_multiplier, 2, 255, "invalid detect multiplier value"),
        ("spec.receiveInterval", spec.receive_interval, 10, 60_000, "invalid receive interval value"),
        ("spec.transmitInterval", spec.transmit_interval, 10, 60_000, "invalid transmit interval value"),
        ("spec.minimumTtl", spec.minimum_ttl, 1, 254, "invalid minimum ttl value"),
        ("spec.echoInterval", spec.echo_interval, 10, 60_000, "invalid echo interval value"),
    ];
    for (field, value, least, most, what) in limits {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            errors.push((field, format!("invalid value {value}, must be in {least}-{most} range\n{what}")));
        }
    }
    errors
}
