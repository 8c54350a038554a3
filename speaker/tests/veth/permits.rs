//! No frame leaves without a permit.

use std::time::Duration;

use crate::lab::{Announcer, Lab, VIP, run, wait};

const NO_PERMIT: &str = "frames_dropped{reason=\"no_permit\"}";

#[test]
fn without_a_permit_nothing_is_answered_or_told_and_its_return_alone_tells_nothing() {
    let lab = Lab::new("pm");
    let mut announcer = Announcer::start(&lab, &[]);
    announcer.wait_for("createARPResponder", "eth0");
    announcer.say("permit 0");
    let frames = lab.capture(&format!("arp and ether src {}", lab.mac("node", "eth0")));
    announcer.say(&format!("announce {VIP}"));
    // A whole burst of five rounds is dropped, and counted.
    wait("the burst is over", || announcer.metric(NO_PERMIT) >= 10);
    assert_eq!(lab.arp("eth0", VIP), None);
    assert_eq!(announcer.metric(NO_PERMIT), 11);
    announcer.say("permit forever");
    assert_eq!(frames.within(Duration::from_millis(1500)), Vec::<String>::new());
    assert!(lab.arp("eth0", VIP).is_some());
}

#[test]
fn a_process_that_was_stopped_does_not_answer_what_waited_when_it_goes_on() {
    let lab = Lab::new("st");
    let mut announcer = Announcer::start(&lab, &[VIP]);
    wait("ARP answer", || lab.arp("eth0", VIP).is_some());
    let before = announcer.metric(NO_PERMIT);
    announcer.say("permit 100");
    let id = announcer.id().to_string();
    assert!(run("kill", &["-STOP", &id]).0);
    // Waits for a second for the answer that does not come: much longer than the permit.
    assert_eq!(lab.arp("eth0", VIP), None);
    let replies = lab.capture("arp[6:2] == 2");
    assert!(run("kill", &["-CONT", &id]).0);
    wait("the question was read", || announcer.metric(NO_PERMIT) > before);
    assert_eq!(replies.within(Duration::from_millis(200)), Vec::<String>::new());
    announcer.say("permit forever");
    wait("ARP answer", || lab.arp("eth0", VIP).is_some());
}
