//! Texts inside objects: address ranges, communities, durations, label selectors.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::duration::parse_go_duration;
use config::selector::Selector;
use config::{communities::parse_community, range::parse_entry};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Reads the data as each kind of text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    range(text);
    duration(text);
    match parse_community(text) {
        Ok(community) => {
            // The leading word of a large community is no part of how it is shown.
            let shown = match community {
                config::Community::Standard(..) => community.to_string(),
                config::Community::Large(..) => format!("large:{community}"),
            };
            assert_eq!(parse_community(&shown), Ok(community), "{text:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    selector(text);
}

fn range(text: &str) {
    let nets = match parse_entry(text) {
        Ok(nets) => nets,
        Err(error) => return assert!(is_one_line(&error.to_string()), "{error}"),
    };
    assert!(!nets.is_empty() && nets.len() <= 256, "{text:?}: {nets:?}");
    for net in &nets {
        assert_eq!(*net, net.trunc(), "{text:?}");
        assert_eq!(parse_entry(&net.to_string()), Ok(vec![*net]), "{text:?}");
        assert!(!matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()), "{text:?}");
    }
    for pair in nets.windows(2) {
        assert!(last(&pair[0]) < pair[1].network(), "{text:?}: {nets:?}");
    }
    // The range from the first to the last address is the entry itself.
    let (first, end) = (nets[0].network(), last(&nets[nets.len() - 1]));
    // In a range, ::ffff:a.b.c.d is the IPv4 address a.b.c.d; so ::/80 cannot be written as one.
    if end == end.to_canonical() {
        assert_eq!(parse_entry(&format!("{first}-{end}")), Ok(nets), "{text:?}");
    }
}

fn last(net: &IpNet) -> IpAddr {
    net.broadcast()
}

fn duration(text: &str) {
    match parse_go_duration(text) {
        Ok(duration) => assert_eq!(parse_go_duration(&duration.to_string()), Ok(duration), "{text:?}"),
        Err(error) => assert!(is_one_line(&error.to_string()), "{error}"),
    }
}

/// One requirement per line: key, operator and values, separated by commas.
fn selector(text: &str) {
    let expressions: Vec<LabelSelectorRequirement> = text
        .lines()
        .map(|line| {
            let mut parts = line.split(',').map(str::to_owned);
            LabelSelectorRequirement {
                key: parts.next().unwrap_or_default(),
                operator: parts.next().unwrap_or_default(),
                values: Some(parts.collect()),
            }
        })
        .collect();
    let written = LabelSelector { match_expressions: Some(expressions.clone()), match_labels: None };
    let selector = match Selector::parse(&written) {
        Ok(selector) => selector,
        Err(error) => return assert!(is_one_line(&error.to_string()), "{error}"),
    };
    let reversed =
        LabelSelector { match_expressions: Some(expressions.iter().rev().cloned().collect()), match_labels: None };
    assert_eq!(Selector::parse(&reversed).as_ref(), Ok(&selector), "{text:?}");
    assert_eq!(selector.to_string().is_empty(), expressions.is_empty(), "{text:?}");
    // One value of each key, then no labels at all.
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for expression in &expressions {
        let value = expression.values.iter().flatten().next();
        labels.entry(expression.key.clone()).or_insert_with(|| value.cloned().unwrap_or_default());
    }
    for labels in [labels, BTreeMap::new()] {
        let naive = expressions.iter().all(|expression| {
            let value = labels.get(&expression.key);
            let named = value.is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
            match expression.operator.as_str() {
                "In" => named,
                "NotIn" => !named,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        });
        assert_eq!(selector.matches(&labels), naive, "{text:?} {labels:?}");
    }
}

/// Messages end up in log lines and in kubectl's output: nothing in an object may break them.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}
