//! R15: another host has the address before, while or after it is announced.

use std::time::Duration;

use crate::lab::{Announcer, Lab, VIP, VIP6, run, wait};

#[test]
fn r15_a_new_address_is_asked_for_three_times_and_then_announced() {
    let lab = Lab::new("pf");
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createNDPResponder", "eth0");
    let (node, client) = (lab.mac("node", "eth0"), lab.mac("client", "eth0"));
    let arp = lab.capture(&format!("arp and not ether src {client}"));
    let ndp = lab
        .capture(&format!("ether src {node} and icmp6 and (ip6[40] == 135 or ip6[40] == 136) and ip6[48:2] != 0xfe80"));
    announcer.say(&format!("probe {VIP}"));
    announcer.say(&format!("probe {VIP6}"));
    let frames = arp.next(4);
    assert!(frames[..3].iter().all(|frame| frame.contains("Request who-has 192.0.2.10 tell 0.0.0.0")), "{frames:?}");
    assert!(frames[3].contains("192.0.2.10 (ff:ff:ff:ff:ff:ff) tell 192.0.2.10"), "{frames:?}");
    let frames = ndp.next(4);
    assert!(frames[..3].iter().all(|frame| frame.contains(":: > ff02::1:ff00:10")), "{frames:?}");
    assert!(frames[3].contains("> ff02::1: ICMP6, neighbor advertisement, tgt is 2001:db8::10"), "{frames:?}");
    assert_eq!(lab.arp("eth0", VIP).as_ref(), Some(&node));
    assert_eq!(announcer.count("Conflict"), 0);
}

#[test]
fn r15_an_address_that_another_host_has_is_left_alone_until_it_is_free() {
    let lab = Lab::new("pt");
    let other = lab.other_host();
    lab.ip("other", &format!("addr add {VIP}/24 dev eth0"));
    lab.ip("other", &format!("addr add {VIP6}/64 dev eth0 nodad"));
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createNDPResponder", "eth0");
    announcer.say(&format!("probe {VIP}"));
    announcer.say(&format!("probe {VIP6}"));
    announcer.wait_for_lines("announced: false", 2);
    let other = other.replace(':', "-");
    assert_eq!(announcer.log().to_lowercase().replace(':', "-").matches(&other).count(), 2, "{}", announcer.log());
    assert_ne!(lab.arp("eth0", VIP), Some(lab.mac("node", "eth0")));
    assert!(!announcer.metrics().contains("gratuitous_sent{"));
    lab.ip("other", "link set eth0 down");
    announcer.wait_for_lines("Resolved", 2);
    wait("ARP answer", || lab.arp("eth0", VIP) == Some(lab.mac("node", "eth0")));
    wait("NDP answer", || lab.ndp("eth0", VIP6) == Some(lab.mac("node", "eth0")));
}

#[test]
fn r15_a_takeover_asks_nobody_and_a_host_that_takes_an_announced_address_is_reported_and_answered_once() {
    let lab = Lab::new("pc");
    lab.other_host();
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    let node = lab.mac("node", "eth0");
    let told = lab.capture(&format!("arp and ether src {node}"));
    announcer.say(&format!("announce {VIP}"));
    let burst = told.within(Duration::from_secs(6));
    assert!(burst.iter().all(|frame| !frame.contains("tell 0.0.0.0")), "{burst:?}");
    // The other host asks for somebody else, from our address: that is enough to mislead everybody who hears it.
    let claim = || {
        run(
            "ip",
            &["netns", "exec", &lab.ns("other"), "arping", "-c", "1", "-w", "1", "-i", "eth0", "-S", VIP, "192.0.2.77"],
        )
    };
    claim();
    announcer.wait_for_lines("announced: true", 1);
    let defence = told.next(2);
    assert!(defence.iter().all(|frame| frame.contains("ff:ff:ff:ff:ff:ff") && frame.contains(VIP)), "{defence:?}");
    claim();
    claim();
    assert_eq!(told.within(Duration::from_millis(500)), Vec::<String>::new());
    assert_eq!(announcer.count("Conflict"), 1);
}

#[test]
fn r16_a_client_that_takes_no_unasked_entries_follows_a_takeover_nevertheless() {
    let lab = Lab::new("ga");
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createNDPResponder", "eth0");
    let node = lab.mac("node", "eth0");
    for address in [VIP, VIP6] {
        lab.ip("client", &format!("neigh replace {address} lladdr 02:00:00:00:99:99 dev eth0 nud reachable"));
        announcer.say(&format!("announce {address}"));
        let known = || lab.client("ip", &["neigh", "show", address, "dev", "eth0"]).1;
        wait("the client knows the new owner", || known().contains(&node));
    }
}

#[test]
fn r16_a_client_that_asks_everybody_again_takes_the_answer_of_the_new_owner() {
    let lab = Lab::new("ov");
    let announcer = Announcer::start(&lab, &[VIP6]);
    announcer.wait_for("createNDPResponder", "eth0");
    let node = lab.mac("node", "eth0");
    wait("NDP answer", || lab.ndp("eth0", VIP6).as_ref() == Some(&node));
    // Nobody is at the old hardware address. Asked there in vain, the client asks all, and heeds only an overriding answer.
    lab.client("sysctl", &["-qw", "net.ipv6.neigh.eth0.mcast_resolicit=3"]);
    lab.ip("client", &format!("neigh replace {VIP6} lladdr 02:00:00:00:99:99 dev eth0 nud probe"));
    wait("the client knows the owner", || lab.client("ip", &["neigh", "show", VIP6, "dev", "eth0"]).1.contains(&node));
}
