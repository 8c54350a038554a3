//! Odd address ranges: each is either read for what it says or refused, and never stalls or breaks anything.

mod common;

use common::{compiled, object, pool, texts};
use config::range::parse_entry;
use config::{Class, Family, Pool};
use ipnet::IpNet;
use serde_json::json;

fn pool_of(entries: &[&str], avoid: bool) -> Pool {
    let spec = json!({"addresses": entries, "avoidBuggyIPs": avoid});
    let compiled = compiled(&[object("IPAddressPool", "p", spec)]);
    assert_eq!(compiled.findings, [], "{entries:?}");
    compiled.config.pools[&"p".into()].clone()
}

#[test]
fn r8_everything_there_is_can_be_a_pool() {
    let pool = pool_of(&["0.0.0.0/0", "::/0"], false);
    assert_eq!((pool.capacity(Family::V4), pool.capacity(Family::V6)), (1 << 32, i64::MAX.unsigned_abs()));
    assert_eq!(pool.addresses(Family::V4).next().map(|first| first.to_string()).as_deref(), Some("0.0.0.0"));
    let whole = pool_of(&["0.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], false);
    assert_eq!(whole.cidrs().map(ToString::to_string).collect::<Vec<_>>(), ["0.0.0.0/0", "::/0"]);
}

#[test]
fn r8_the_widest_range_that_is_no_prefix_has_few_pieces() {
    assert_eq!(parse_entry("0.0.0.1-255.255.255.254").map(|cidrs| cidrs.len()), Ok(62));
    let v6 = parse_entry("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe").map(|cidrs| cidrs.len());
    assert_eq!(v6, Ok(254));
}

#[test]
fn r8_what_is_no_range_is_refused() {
    let odd = [
        ("10.0.0.1-fc00::1", "different IP families"),
        ("fc00::1-10.0.0.1", "different IP families"),
        ("10.0.0.9-10.0.0.1", "is after the end IP"),
        ("fc00::9-fc00::1", "is after the end IP"),
        ("0::fffe:0:f00-c::f", "contains IPv4-mapped IPv6 addresses"),
        ("fe80::1%eth0-fe80::9%eth0", "invalid start IP \"fe80::1%eth0\""),
        ("fe80::1-fe80::9%eth0", "invalid end IP \"fe80::9%eth0\""),
        ("fe80::%1/64", "invalid CIDR \"fe80::%1/64\""),
        ("010.0.0.0/24", "invalid CIDR \"010.0.0.0/24\""),
        ("10.0.0.01-10.0.0.9", "invalid start IP \"10.0.0.01\""),
        ("10.0.0.0/33", "invalid CIDR"),
        ("10.0.0.0/-1", "invalid"),
        ("::/129", "invalid CIDR"),
        ("10.0.0.1", "invalid CIDR"),
        ("", "invalid CIDR \"\""),
        ("-", "invalid start IP \"\""),
        ("10.0.0.1-", "invalid end IP \"\""),
        ("10.0.0.1-10.0.0.5-10.0.0.9", "invalid end IP \"10.0.0.5-10.0.0.9\""),
        ("10.0.0.0/24,10.0.1.0/24", "invalid CIDR"),
        ("10.0.0.1\u{2013}10.0.0.9", "invalid CIDR"),
    ];
    for (entry, text) in odd {
        let found = compiled(&[pool("p", &[entry]), pool("good", &["192.0.2.0/24"])]);
        let errors = texts(&found, Class::Error);
        assert!(errors.len() == 1 && errors[0].contains(text), "{entry}: {errors:?}");
        assert!(found.config.pools.contains_key(&"good".into()) && found.config.held.contains_key(&"p".into()));
    }
}

#[test]
fn r8_ipv4_inside_ipv6_is_ipv4_and_overlaps_with_it() {
    let found = compiled(&[pool("a", &["10.0.0.0/24"]), pool("b", &["::ffff:10.0.0.7/128"])]);
    assert_eq!(
        texts(&found, Class::Error),
        ["CIDR \"10.0.0.7/32\" in pool \"b\" overlaps with already defined CIDR \"10.0.0.0/24\""]
    );
    assert_eq!(parse_entry("::ffff:0:0/96"), Ok(vec!["0.0.0.0/0".parse::<IpNet>().expect("a prefix")]));
    // Wider than all of IPv4: this is IPv6.
    assert_eq!(parse_entry("::ffff:0:0/95").map(|cidrs| cidrs[0].to_string()), Ok("::fffe:0:0/95".to_owned()));
}

#[test]
fn r8_ten_thousand_single_addresses_are_one_pool() {
    let entries: Vec<String> =
        (0..10_000).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000_u32 + n))).collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let pool = pool_of(&entries, false);
    assert_eq!((pool.capacity(Family::V4), pool.addresses(Family::V4).count()), (10_000, 10_000));
}

#[test]
fn r8_capacity_is_right_for_every_prefix_length() {
    for length in 0..=32_u8 {
        for base in ["10.0.0.0", "10.0.0.255", "10.0.1.0", "10.0.0.128", "10.0.0.5"] {
            let entry = format!("{base}/{length}");
            let all = 1_u64 << (32 - length);
            assert_eq!(pool_of(&[&entry], false).capacity(Family::V4), all, "{entry}");
            let careful = pool_of(&[&entry], true);
            if length >= 16 {
                let walked = careful.addresses(Family::V4).count() as u64;
                assert_eq!(careful.capacity(Family::V4), walked, "{entry}");
            } else {
                assert_eq!(careful.capacity(Family::V4), all / 256 * 254, "{entry}");
            }
        }
    }
    for length in 0..=128_u8 {
        let entry = format!("fc00::ff/{length}");
        let all = 1_u128 << (128 - u32::from(length)).min(127);
        let most = u64::try_from(all).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
        assert_eq!(pool_of(&[&entry], true).capacity(Family::V6), most, "{entry}");
    }
}
