//! The responders on real interfaces, asked by the tools people use.
//!
//! ```text
//!  namespace "client"                      namespace "node" (only CAP_NET_RAW)
//!  arping, ndisc6, ping -- veth eth0 ====== eth0 veth -- examples/announce
//! ```
//! Each test makes its own network namespaces and removes them, also when it fails. `cargo test -p speaker` builds the
//! examples; with `--test veth` alone, build them before.

mod conflicts;
mod interfaces;
mod lab;
mod load;
mod permits;

use std::time::Duration;

use lab::{Announcer, Lab, VIP, VIP6, wait};

#[test]
fn arp_and_ndp_are_answered_with_net_raw_alone_and_only_for_announced_addresses() {
    let lab = Lab::new("a");
    let announcer = Announcer::start(&lab, &[VIP, VIP6]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createNDPResponder", "eth0");
    let mac = lab.mac("node", "eth0");
    wait("ARP answer", || lab.arp("eth0", VIP).as_ref() == Some(&mac));
    wait("NDP answer", || lab.ndp("eth0", VIP6).as_ref() == Some(&mac));
    assert_eq!(lab.arp("eth0", "192.0.2.11"), None);
    assert_eq!(lab.ndp("eth0", "2001:db8::11"), None);
}

#[test]
fn a_withdrawn_address_falls_silent_at_once() {
    let lab = Lab::new("w");
    let mut announcer = Announcer::start(&lab, &[VIP, VIP6]);
    wait("ARP answer", || lab.arp("eth0", VIP).is_some());
    wait("NDP answer", || lab.ndp("eth0", VIP6).is_some());
    announcer.say(&format!("withdraw {VIP}"));
    announcer.say(&format!("withdraw {VIP6}"));
    wait("ARP silence", || lab.arp("eth0", VIP).is_none());
    wait("NDP silence", || lab.ndp("eth0", VIP6).is_none());
}

#[test]
fn a_takeover_is_told_in_one_burst_and_looking_again_tells_nothing() {
    let lab = Lab::new("g");
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createNDPResponder", "eth0");
    let (node, client) = (lab.mac("node", "eth0"), lab.mac("client", "eth0"));
    let arp = lab.capture(&format!("arp and not ether src {client}"));
    let ndp = lab.capture("icmp6 and ip6[40] == 136");
    announcer.say(&format!("announce {VIP}"));
    announcer.say(&format!("announce {VIP6}"));
    let frames = arp.next(4);
    assert!(frames[0].contains(&format!("{node} > ff:ff:ff:ff:ff:ff")), "{frames:?}");
    assert!(frames[0].contains("Request who-has 192.0.2.10"), "{frames:?}");
    assert!(frames[1].contains(&format!("Reply 192.0.2.10 is-at {node}")), "{frames:?}");
    let advertisement = ndp.next(1).remove(0);
    assert!(advertisement.contains("> ff02::1: ICMP6, neighbor advertisement, tgt is 2001:db8::10"), "{advertisement}");
    // Five rounds of two frames: four came already. Announcing the same again starts no second burst.
    announcer.say(&format!("announce {VIP}"));
    let rest = arp.within(Duration::from_secs(6));
    assert_eq!(rest.len(), 6, "{rest:?}");
}

#[test]
fn an_interface_list_is_honoured_and_can_change_while_running() {
    let lab = Lab::new("i");
    lab.cable("eth1");
    lab.ip("client", "addr add 192.0.2.2/24 dev eth1");
    let mut announcer = Announcer::start(&lab, &["192.0.2.10@eth1"]);
    let second = lab.mac("node", "eth1");
    wait("answer on eth1", || lab.arp("eth1", VIP).as_ref() == Some(&second));
    assert_eq!(lab.arp("eth0", VIP), None);
    announcer.say("announce 192.0.2.10@eth0");
    let first = lab.mac("node", "eth0");
    wait("answer on eth0", || lab.arp("eth0", VIP).as_ref() == Some(&first));
    assert_eq!(lab.arp("eth1", VIP), None);
}

#[test]
fn reachability_checks_and_duplicate_address_probes_are_answered() {
    let lab = Lab::new("d");
    let announcer = Announcer::start(&lab, &[VIP6]);
    announcer.wait_for("createNDPResponder", "eth0");
    let mac = lab.mac("node", "eth0");
    wait("NDP answer", || lab.ndp("eth0", VIP6).as_ref() == Some(&mac));
    let state = || lab.client("ip", &["-6", "neigh", "show", VIP6, "dev", "eth0"]).1;
    // A stale neighbour in use is asked by unicast, after the kernel's delay of five seconds.
    lab.ip("client", &format!("neigh replace {VIP6} lladdr {mac} dev eth0 nud probe"));
    wait("the neighbour is reachable by a unicast probe", || state().contains("REACHABLE"));
    // Somebody takes the address: the kernel's probe is answered, and it gives up.
    lab.ip("client", &format!("addr add {VIP6}/64 dev eth0"));
    wait("the duplicate is found", || {
        lab.client("ip", &["-6", "addr", "show", "dev", "eth0", "dadfailed"]).1.contains(VIP6)
    });
}

#[test]
fn fewer_interfaces_tell_nothing_and_a_new_one_is_told_alone() {
    let lab = Lab::new("sh");
    lab.cable("eth1");
    lab.ip("client", "addr add 192.0.2.2/24 dev eth1");
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createARPResponder", "eth1");
    announcer.say("announce 192.0.2.10@eth0,eth1");
    wait("ARP answer", || lab.arp("eth0", VIP).is_some());
    let frames = lab.capture(&format!("arp and ether src {}", lab.mac("node", "eth0")));
    frames.within(Duration::from_secs(6));
    announcer.say("announce 192.0.2.10@eth0");
    wait("silence on eth1", || lab.arp("eth1", VIP).is_none());
    announcer.say("announce 192.0.2.10@eth0,eth1");
    lab.cable("late0");
    announcer.wait_for("createARPResponder", "late0");
    wait("ARP answer", || lab.arp("eth1", VIP).is_some());
    assert_eq!(frames.within(Duration::from_millis(1500)), Vec::<String>::new());
}
