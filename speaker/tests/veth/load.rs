//! Many addresses, many frames, bad frames.

use crate::lab::{Announcer, Lab, VIP, wait};

#[test]
fn r14_addresses_that_came_and_went_ten_times_a_second_leave_nothing_behind() {
    let lab = Lab::new("ch");
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.say("churn 10.1.0.0 5000 100 40");
    announcer.wait_for_lines("churned", 1);
    announcer.say("announce 10.1.2.3");
    wait("the one address is answered", || lab.arp("eth0", "10.1.2.3").is_some());
    assert!(lab.ask(&["10.1.0.0", "5000"]).contains("answered 1\n"));
}

#[test]
fn frames_about_other_addresses_do_not_wake_the_process() {
    let lab = Lab::new("ff");
    let announcer = Announcer::start(&lab, &[VIP, "192.0.2.12"]);
    wait("ARP answer", || lab.arp("eth0", VIP).is_some());
    let before = announcer.wakes();
    let flood = lab.ask(&["10.0.0.0", "1000", "20000", "2"]);
    let woken = announcer.wakes() - before;
    assert!(flood.contains("sent "), "{flood}");
    // The two bursts and the runtime's own housekeeping are some dozens; the flood is forty thousand.
    assert!(woken < 2000, "woken {woken} times");
    assert!(lab.arp("eth0", VIP).is_some());
}

#[test]
fn malformed_frames_are_dropped_and_counted() {
    let lab = Lab::new("mf");
    let mut announcer = Announcer::start(&lab, &[VIP]);
    wait("ARP answer", || lab.arp("eth0", VIP).is_some());
    // A request that ends in the middle of its target, and one from a group's hardware address.
    for hex in [
        "ffffffffffff0200000000bb08060001080006040001_0200000000bb_c0000201_000000000000_c000",
        "ffffffffffff0200000000bb08060001080006040001_ffffffffffff_c0000201_000000000000_c000020a",
    ] {
        lab.ask(&["frame", &hex.replace('_', "")]);
    }
    wait("both are counted", || announcer.metric("frames_dropped{reason=\"malformed\"}") == 2);
}
