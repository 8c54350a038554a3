//! R12: what may happen to interfaces while addresses are announced on them.

use std::time::Duration;

use crate::lab::{Announcer, Lab, VIP, VIP6, run, wait};

const SECOND: Duration = Duration::from_secs(1);

/// The interface answers again within a second from now.
fn recovers(lab: &Lab, interface: &str, mac: &str) {
    let time = lab.answered_after(interface, VIP, mac);
    assert!(time < SECOND, "took {time:?}");
}

/// Makes an interface in the node's namespace; `false` where this kernel does not know its kind.
fn make(lab: &Lab, line: &str) -> bool {
    let (made, text) =
        run("ip", &[&["-n", &lab.ns("node"), "link", "add"], line.split(' ').collect::<Vec<_>>().as_slice()].concat());
    assert!(made || text.contains("Unknown device type"), "{line}: {text}");
    if !made {
        eprintln!("this kernel has no {line}: not tested");
    }
    made
}

#[test]
fn a_port_whose_cable_is_plugged_in_again_tells_everything_it_answers_for() {
    let lab = Lab::new("p");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    let client = lab.mac("client", "eth0");
    let arp = lab.capture(&format!("arp and not ether src {client}"));
    // The burst of the start: it may have begun before the capture did, and ends by itself.
    arp.within(Duration::from_secs(6));
    lab.ip("client", "link set eth0 down");
    announcer.wait_for("carrierLost", "eth0");
    lab.ip("client", "link set eth0 up");
    let frames = lab.capture(&format!("arp and not ether src {client}")).next(2);
    assert!(frames.iter().all(|frame| frame.contains("192.0.2.10")), "{frames:?}");
}

#[test]
fn interfaces_that_appear_go_down_or_change_their_address_are_followed_within_a_second() {
    let lab = Lab::new("n");
    let announcer = Announcer::start(&lab, &[VIP, VIP6]);
    announcer.wait_for("createNDPResponder", "eth0");
    lab.cable("late0");
    lab.ip("client", "addr add 192.0.2.3/24 dev late0");
    lab.ip("client", "addr add 2001:db8::3/64 dev late0 nodad");
    announcer.wait_for("createARPResponder", "late0");
    let late = lab.mac("node", "late0");
    wait("ARP on the late interface", || lab.arp("late0", VIP).as_ref() == Some(&late));
    // Needs the link-local address to be checked first, and a membership made for an address announced long before.
    wait("NDP on the late interface", || lab.ndp("late0", VIP6).as_ref() == Some(&late));
    lab.ip("node", "link set late0 down");
    announcer.wait_for("deleteARPResponder", "late0");
    lab.ip("node", "link set late0 address 02:00:00:00:12:34");
    lab.ip("node", "link set late0 up");
    recovers(&lab, "late0", "02:00:00:00:12:34");
}

#[test]
fn members_of_a_bridge_stay_silent_and_the_bridge_answers() {
    let lab = Lab::new("b");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    lab.ip("node", "link add br0 type bridge");
    lab.ip("node", "link set br0 address 02:00:00:00:aa:01");
    lab.ip("node", "link set br0 up");
    lab.ip("node", "link set eth0 master br0");
    announcer.wait_for("deleteARPResponder", "eth0");
    wait("the bridge's answer", || lab.arp("eth0", VIP).as_deref() == Some("02:00:00:00:aa:01"));
}

#[test]
fn r12_an_interface_that_was_down_answers_within_a_second_of_coming_up() {
    let lab = Lab::new("du");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    let mac = lab.mac("node", "eth0");
    lab.ip("node", "link set eth0 down");
    announcer.wait_for("deleteARPResponder", "eth0");
    lab.ip("node", "link set eth0 up");
    recovers(&lab, "eth0", &mac);
}

#[test]
fn r12_an_interface_without_carrier_answers_within_a_second_of_being_plugged_in() {
    let lab = Lab::new("nc");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    let mac = lab.mac("node", "eth0");
    lab.ip("client", "link set eth0 down");
    announcer.wait_for("carrierLost", "eth0");
    lab.ip("client", "link set eth0 up");
    recovers(&lab, "eth0", &mac);
    assert_eq!(announcer.count("createARPResponder"), 1, "the responder stayed");
}

#[test]
fn r12_a_flapping_interface_is_followed_to_its_last_state() {
    let lab = Lab::new("fl");
    let announcer = Announcer::start(&lab, &[VIP, VIP6]);
    announcer.wait_for("createNDPResponder", "eth0");
    for _ in 0..25 {
        lab.ip("node", "link set eth0 down");
        lab.ip("node", "link set eth0 up");
    }
    recovers(&lab, "eth0", &lab.mac("node", "eth0"));
    wait("NDP answer", || lab.ndp("eth0", VIP6).is_some());
    assert_eq!(lab.all_arp("eth0", &[], VIP).len(), 1);
}

#[test]
fn r12_an_interface_that_resolves_no_addresses_stays_silent() {
    let lab = Lab::new("na");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    lab.ip("node", "link set eth0 arp off");
    announcer.wait_for("deleteARPResponder", "eth0");
    assert_eq!(lab.arp("eth0", VIP), None);
    lab.ip("node", "link set eth0 arp on");
    recovers(&lab, "eth0", &lab.mac("node", "eth0"));
}

#[test]
fn r12_a_hardware_address_that_changes_while_the_interface_is_up_is_told_and_answered() {
    let lab = Lab::new("mc");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    let told = lab.capture("arp and ether src 02:00:00:00:43:21");
    lab.ip("node", "link set eth0 address 02:00:00:00:43:21");
    recovers(&lab, "eth0", "02:00:00:00:43:21");
    assert!(told.next(2).iter().all(|frame| frame.contains("192.0.2.10")));
}

#[test]
fn r12_a_renamed_interface_answers_what_its_new_name_allows() {
    let lab = Lab::new("rn");
    let announcer = Announcer::start(&lab, &["192.0.2.10@lan0", "192.0.2.11@eth0"]);
    announcer.wait_for("createARPResponder", "eth0");
    let mac = lab.mac("node", "eth0");
    assert_eq!(lab.arp("eth0", VIP), None);
    lab.ip("node", "link set eth0 down");
    lab.ip("node", "link set eth0 name lan0");
    lab.ip("node", "link set lan0 up");
    recovers(&lab, "eth0", &mac);
    assert_eq!(lab.arp("eth0", "192.0.2.11"), None);
}

#[test]
fn r12_a_member_that_leaves_its_bridge_answers_itself() {
    let lab = Lab::new("lb");
    let announcer = Announcer::start(&lab, &["192.0.2.10@eth0"]);
    announcer.wait_for("createARPResponder", "eth0");
    assert!(make(&lab, "br0 type bridge"));
    lab.ip("node", "link set br0 up");
    lab.ip("node", "link set eth0 master br0");
    announcer.wait_for("deleteARPResponder", "eth0");
    assert_eq!(lab.arp("eth0", VIP), None);
    lab.ip("node", "link set eth0 nomaster");
    recovers(&lab, "eth0", &lab.mac("node", "eth0"));
}

#[test]
fn r12_the_bond_answers_and_its_members_stay_silent() {
    let lab = Lab::new("bo");
    if !make(&lab, "bond0 type bond mode active-backup miimon 50") {
        return;
    }
    lab.cable("eth1");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    for member in ["eth0", "eth1"] {
        lab.ip("node", &format!("link set {member} down"));
        lab.ip("node", &format!("link set {member} master bond0"));
    }
    lab.ip("node", "link set bond0 up");
    let mac = lab.mac("node", "bond0");
    recovers(&lab, "eth0", &mac);
    assert_eq!(lab.all_arp("eth0", &[], VIP), [mac.clone()].into());
    lab.ip("client", "link set eth0 down");
    recovers(&lab, "eth1", &mac);
}

#[test]
fn r12_a_vlan_answers_its_own_questions_only() {
    let lab = Lab::new("vl");
    if !make(&lab, "link eth0 name eth0.5 type vlan id 5") {
        return;
    }
    lab.ip("client", "link add link eth0 name eth0.5 type vlan id 5");
    lab.ip("client", "link set eth0.5 up");
    lab.ip("node", "link set eth0.5 up");
    let announcer = Announcer::start(&lab, &["192.0.2.10@eth0.5"]);
    announcer.wait_for("createARPResponder", "eth0.5");
    recovers(&lab, "eth0.5", &lab.mac("node", "eth0.5"));
    assert_eq!(lab.arp("eth0", VIP), None);
}

#[test]
fn r12_a_macvlan_answers_with_its_own_hardware_address_only() {
    let lab = Lab::new("mv");
    if !make(&lab, "link eth0 name mv0 type macvlan") {
        return;
    }
    lab.ip("node", "link set mv0 up");
    let announcer = Announcer::start(&lab, &["192.0.2.10@mv0"]);
    announcer.wait_for("createARPResponder", "mv0");
    let mac = lab.mac("node", "mv0");
    recovers(&lab, "eth0", &mac);
    assert_eq!(lab.all_arp("eth0", &[], VIP).into_iter().collect::<Vec<_>>(), [mac]);
}

#[test]
fn r12_two_interfaces_on_one_network_each_answer_what_they_are_asked_with_their_own_hardware_address() {
    let lab = Lab::new("tw");
    lab.cable("eth1");
    lab.ip("client", "link add br0 type bridge");
    lab.ip("client", "link set br0 up");
    for port in ["eth0", "eth1"] {
        lab.ip("client", &format!("link set {port} master br0"));
    }
    lab.ip("client", "addr flush dev eth0");
    lab.ip("client", "addr add 192.0.2.1/24 dev br0");
    let announcer = Announcer::start(&lab, &[VIP]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.wait_for("createARPResponder", "eth1");
    let (first, second) = (lab.mac("node", "eth0"), lab.mac("node", "eth1"));
    wait("both answer", || lab.all_arp("br0", &["-W", "0.2"], VIP).len() == 2);
    assert_eq!(lab.all_arp("br0", &["-t", &first], VIP).into_iter().collect::<Vec<_>>(), [first]);
    assert_eq!(lab.all_arp("br0", &["-t", &second], VIP).into_iter().collect::<Vec<_>>(), [second]);
    assert_eq!(announcer.count("Conflict"), 0, "the node hears its own frames and knows them");
}
