use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_boot(Duration::from_millis(1_000_000 + millis))
}

fn record(version: u64, holder: &str) -> Record {
    Record { version: version.to_string(), holder: holder.into(), duration: LEASE, transitions: 3 }
}

fn released(version: u64) -> Record {
    Record { duration: Duration::from_secs(1), ..record(version, "") }
}

fn sent(outputs: &[Output]) -> Option<(u64, Request)> {
    outputs.iter().find_map(|output| match output {
        Output::Send(number, request) => Some((*number, request.clone())),
        Output::Lead(_) | Output::Lost(_) | Output::Stopped => None,
    })
}

/// A candidate that follows `sight` since 0 ms and may lead.
fn candidate(sight: Option<Record>) -> (Candidate, Vec<Output>) {
    let mut candidate = Candidate::new("me");
    assert_eq!(candidate.handle(at(0), Input::Seen(sight)), []);
    let outputs = candidate.handle(at(0), Input::Compete { alone: true });
    (candidate, outputs)
}

/// A candidate that leads since 0 ms with version 5.
fn leader() -> Candidate {
    let (mut candidate, outputs) = candidate(None);
    assert_eq!(sent(&outputs), Some((1, Request::Create)));
    let outputs = candidate.handle(at(0), Input::Answered(1, Answer::Stored(record(5, "me"))));
    assert_eq!(outputs, [Output::Lead(at(5000))]);
    candidate
}

#[test]
fn a_lease_that_never_was_and_a_released_one_are_taken_at_once() {
    assert_eq!(sent(&candidate(None).1), Some((1, Request::Create)));
    assert_eq!(sent(&candidate(Some(released(9))).1), Some((1, Request::Take("9".into(), 4))));
}

#[test]
fn who_cannot_lead_yet_does_not_reach_for_the_lease() {
    let mut candidate = Candidate::new("me");
    assert_eq!(candidate.handle(at(0), Input::Seen(None)), []);
    assert_eq!((candidate.handle(at(60_000), Input::Tick), candidate.deadline()), (vec![], None));
}

#[test]
fn a_lease_that_never_was_is_waited_for_when_somebody_else_is_there() {
    let mut candidate = Candidate::new("me");
    candidate.handle(at(0), Input::Seen(None));
    let outputs = candidate.handle(at(0), Input::Compete { alone: false });
    assert_eq!(sent(&outputs), Some((1, Request::Open)));
    assert_eq!(candidate.handle(at(10), Input::Answered(1, Answer::Stored(record(5, "")))), []);
    assert_eq!(sent(&candidate.handle(at(8010), Input::Tick)), Some((2, Request::Take("5".into(), 4))));
}

#[test]
fn a_silent_holder_is_followed_for_the_whole_duration_of_the_lease() {
    let (mut candidate, outputs) = candidate(Some(record(9, "other")));
    assert_eq!((outputs, candidate.deadline()), (vec![], Some(at(8000))));
    assert_eq!(candidate.handle(at(3000), Input::Seen(Some(record(10, "other")))), []);
    assert_eq!(candidate.handle(at(10_999), Input::Tick), []);
    assert_eq!(sent(&candidate.handle(at(11_000), Input::Tick)), Some((1, Request::Take("10".into(), 4))));
    assert_eq!(candidate.holder(), Some("other"));
}

#[test]
fn a_holder_emptied_by_hand_may_still_be_at_work() {
    let (mut candidate, outputs) = candidate(Some(record(9, "")));
    assert_eq!(outputs, []);
    assert_eq!(sent(&candidate.handle(at(8000), Input::Tick)), Some((1, Request::Take("9".into(), 4))));
}

#[test]
fn the_time_of_a_leader_runs_from_before_the_renewal_was_sent() {
    let mut leader = leader();
    assert_eq!(leader.deadline(), Some(at(2000)));
    assert_eq!(sent(&leader.handle(at(2000), Input::Tick)), Some((2, Request::Renew("5".into()))));
    let outputs = leader.handle(at(3500), Input::Answered(2, Answer::Stored(record(6, "me"))));
    assert_eq!(outputs, [Output::Lead(at(7000))]);
    assert_eq!(leader.deadline(), Some(at(4000)));
}

#[test]
fn a_leader_without_answers_gives_up_before_anybody_may_take_the_lease() {
    let mut leader = leader();
    let mut now = 2000;
    let lost = loop {
        let outputs = leader.handle(at(now), Input::Tick);
        if outputs.iter().any(|output| matches!(output, Output::Lost(_))) {
            break now;
        }
        now = u64::try_from(leader.deadline().unwrap().after(at(0)).as_millis()).unwrap();
    };
    assert_eq!(lost, 5000);
}

#[test]
fn an_answer_that_comes_too_late_makes_nobody_lead() {
    let (mut candidate, _) = candidate(None);
    // The process was stopped for a minute before it could read the answer.
    let outputs = candidate.handle(at(60_000), Input::Answered(1, Answer::Stored(record(5, "me"))));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Lead(_))), "{outputs:?}");
    assert_eq!(sent(&outputs), Some((2, Request::Renew("5".into()))), "it is ours all the same");
}

#[test]
fn a_deleted_lease_is_made_again_by_its_leader() {
    let mut leader = leader();
    assert_eq!(sent(&leader.handle(at(1000), Input::Seen(None))), Some((2, Request::Create)));
    let outputs = leader.handle(at(1010), Input::Answered(2, Answer::Stored(record(8, "me"))));
    assert_eq!(outputs, [Output::Lead(at(6000))]);
}

#[test]
fn a_deleted_lease_is_left_to_its_leader_first_and_then_waited_for() {
    let (mut candidate, _) = candidate(Some(record(9, "other")));
    assert_eq!(candidate.handle(at(7000), Input::Seen(None)), []);
    assert_eq!(sent(&candidate.handle(at(12_000), Input::Tick)), Some((1, Request::Open)));
    assert_eq!(candidate.handle(at(12_010), Input::Answered(1, Answer::Stored(record(10, "")))), []);
    assert_eq!(candidate.deadline(), Some(at(20_010)));
}

#[test]
fn a_leader_stops_when_the_lease_names_somebody_else() {
    let mut leader = leader();
    assert_eq!(
        leader.handle(at(1000), Input::Seen(Some(record(6, "other")))),
        [Output::Lost("the Lease names another leader")]
    );
}

#[test]
fn an_old_event_of_the_watch_changes_nothing() {
    let mut leader = leader();
    assert_eq!(leader.handle(at(1000), Input::Seen(Some(record(4, "other")))), []);
    assert_eq!(leader.deadline(), Some(at(2000)));
}

#[test]
fn somebody_elses_note_on_the_lease_only_costs_a_read() {
    let mut leader = leader();
    leader.handle(at(2000), Input::Tick);
    assert_eq!(sent(&leader.handle(at(2010), Input::Answered(2, Answer::Refused))), Some((3, Request::Read)));
    let read = Answer::Read(Some(record(7, "me")));
    assert_eq!(leader.handle(at(2020), Input::Answered(3, read)), []);
    assert_eq!(sent(&leader.handle(at(2120), Input::Tick)), Some((4, Request::Renew("7".into()))));
}

#[test]
fn a_leader_that_cannot_find_out_whose_the_lease_is_stops_leading() {
    let mut leader = leader();
    leader.handle(at(2000), Input::Tick);
    leader.handle(at(2010), Input::Answered(2, Answer::Refused));
    let outputs = leader.handle(at(2020), Input::Answered(3, Answer::Failed));
    assert_eq!(outputs, [Output::Lost("somebody else wrote the Lease, and it cannot be read")]);
}

#[test]
fn whoever_lost_leadership_rests_until_its_own_writes_are_over() {
    let mut leader = leader();
    // Stopped for five seconds, and nobody else is there.
    let outputs = leader.handle(at(5000), Input::Tick);
    assert_eq!(outputs, [Output::Lost("the Lease could not be renewed in time")]);
    assert_eq!(leader.deadline(), Some(at(8000)));
    assert_eq!(sent(&leader.handle(at(8000), Input::Tick)), Some((2, Request::Renew("5".into()))));
}

#[test]
fn a_lease_is_not_given_back_while_a_write_is_unanswered() {
    let mut leader = leader();
    assert_eq!(leader.handle(at(1000), Input::Stop { give_back: false }), [Output::Stopped]);
}

#[test]
fn who_stops_gives_the_lease_back() {
    let mut leader = leader();
    assert_eq!(
        sent(&leader.handle(at(1000), Input::Stop { give_back: true })),
        Some((2, Request::Release("5".into())))
    );
    let outputs = leader.handle(at(1010), Input::Answered(2, Answer::Stored(released(6))));
    assert_eq!((outputs, leader.deadline()), (vec![Output::Stopped], None));
}

#[test]
fn who_follows_stops_at_once_and_a_deaf_apiserver_does_not_hold_up_the_end() {
    let (mut follower, _) = candidate(Some(record(9, "other")));
    assert_eq!(follower.handle(at(1), Input::Stop { give_back: true }), [Output::Stopped]);
    let mut leader = leader();
    leader.handle(at(500), Input::Stop { give_back: true });
    assert_eq!(sent(&leader.handle(at(2500), Input::Tick)), Some((3, Request::Release("5".into()))));
    assert_eq!(leader.handle(at(4500), Input::Tick), [Output::Stopped]);
}

/// One thing that goes wrong, at a time in milliseconds.
#[derive(Clone, Debug)]
enum Trouble {
    /// The process stands still.
    Pause { who: usize, millis: u64 },
    /// Nothing gets through between process and apiserver; what was sent is lost.
    Cut { who: usize, millis: u64 },
    /// From now on messages take this long, each way.
    Slow { who: usize, there: u64, back: u64, watch: u64 },
    /// Somebody deletes the Lease.
    Delete,
    /// Somebody writes a note on the Lease.
    Annotate,
    /// Somebody empties the holder.
    Empty,
    /// The process is told to stop.
    Stop { who: usize },
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let (who, millis) = (0..3usize, 0..20_000u64);
    prop_oneof![
        4 => (who.clone(), millis.clone()).prop_map(|(who, millis)| Trouble::Pause { who, millis }),
        4 => (who.clone(), millis).prop_map(|(who, millis)| Trouble::Cut { who, millis }),
        4 => (who.clone(), 0..4000u64, 0..4000u64, 0..9000u64)
            .prop_map(|(who, there, back, watch)| Trouble::Slow { who, there, back, watch }),
        2 => Just(Trouble::Delete),
        1 => Just(Trouble::Annotate),
        1 => Just(Trouble::Empty),
        1 => who.prop_map(|who| Trouble::Stop { who }),
    ]
}

enum Message {
    Request(usize, u64, Request),
    To(usize, Input),
    Trouble(Trouble),
}

struct Process {
    candidate: Candidate,
    offset: u64,
    /// Speed of its clock in thousandths.
    speed: u64,
    paused_until: u64,
    cut_until: u64,
    delays: (u64, u64, u64),
    /// Its events of the watch arrive in order.
    watched_until: u64,
    /// Its fence, on its own clock.
    fence: Moment,
    leads: bool,
    stopped: bool,
    /// When its timer rings.
    timer: Option<u64>,
}

struct World {
    now: u64,
    queue: BTreeMap<(u64, u64), Message>,
    queued: u64,
    lease: Option<Record>,
    version: u64,
    processes: Vec<Process>,
}

impl World {
    fn new(clocks: &[(u64, u64)]) -> Self {
        let process = |(index, (offset, speed)): (usize, &(u64, u64))| Process {
            candidate: Candidate::new(format!("p{index}")),
            offset: *offset,
            speed: *speed,
            paused_until: 0,
            cut_until: 0,
            delays: (1, 1, 1),
            watched_until: 0,
            fence: Moment::default(),
            leads: false,
            stopped: false,
            timer: None,
        };
        let processes = clocks.iter().enumerate().map(process).collect();
        let mut world = Self { now: 0, queue: BTreeMap::new(), queued: 0, lease: None, version: 0, processes };
        for who in 0..clocks.len() {
            world.post(0, Message::To(who, Input::Seen(None)));
            world.post(0, Message::To(who, Input::Compete { alone: who == 0 }));
        }
        world
    }

    fn post(&mut self, delay: u64, message: Message) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), message);
    }

    fn clock(&self, who: usize) -> Moment {
        let process = &self.processes[who];
        Moment::from_boot(Duration::from_micros(process.offset * 1000 + self.now * process.speed))
    }

    fn store(&mut self, lease: Option<Record>) {
        self.version += 1;
        self.lease = lease.map(|record| Record { version: self.version.to_string(), ..record });
        for who in 0..self.processes.len() {
            let process = &mut self.processes[who];
            let arrives = (self.now + process.delays.2).max(process.cut_until).max(process.watched_until);
            process.watched_until = arrives;
            let (delay, shown) = (arrives - self.now, self.lease.clone());
            self.post(delay, Message::To(who, Input::Seen(shown)));
        }
    }

    /// What the apiserver does with a request.
    fn serve(&mut self, who: usize, request: Request) -> Answer {
        let holder = format!("p{who}");
        let new = |transitions| Record { version: String::new(), holder: holder.clone(), duration: LEASE, transitions };
        let (version, record) = match (request, self.lease.clone()) {
            (Request::Read, lease) => return Answer::Read(lease),
            (Request::Create | Request::Open, Some(_)) => return Answer::Refused,
            (Request::Create, None) => (None, new(0)),
            (Request::Open, None) => (None, Record { holder: String::new(), ..new(0) }),
            (Request::Take(..) | Request::Renew(_) | Request::Release(_), None) => return Answer::Absent,
            (Request::Take(version, transitions), Some(_)) => (Some(version), new(transitions)),
            (Request::Renew(version), Some(old)) => (Some(version), new(old.transitions)),
            (Request::Release(version), Some(old)) => {
                (Some(version), Record { holder: String::new(), duration: Duration::from_secs(1), ..old })
            }
        };
        if version.is_some_and(|version| self.lease.as_ref().is_none_or(|lease| lease.version != version)) {
            return Answer::Refused;
        }
        self.store(Some(record));
        self.lease.clone().map_or(Answer::Failed, Answer::Stored)
    }

    fn trouble(&mut self, trouble: Trouble) {
        let now = self.now;
        let note = self.lease.clone();
        match trouble {
            Trouble::Pause { who, millis } => self.processes[who].paused_until = now + millis,
            Trouble::Cut { who, millis } => self.processes[who].cut_until = now + millis,
            Trouble::Slow { who, there, back, watch } => self.processes[who].delays = (there, back, watch),
            Trouble::Delete if note.is_some() => self.store(None),
            Trouble::Annotate if note.is_some() => self.store(note),
            Trouble::Empty => {
                if let Some(lease) = note {
                    self.store(Some(Record { holder: String::new(), ..lease }));
                }
            }
            Trouble::Delete | Trouble::Annotate => {}
            Trouble::Stop { who } => self.post(0, Message::To(who, Input::Stop { give_back: true })),
        }
    }

    fn deliver(&mut self, who: usize, input: Input) {
        if self.processes[who].paused_until > self.now {
            let until = self.processes[who].paused_until;
            if input == Input::Tick {
                self.processes[who].timer = Some(until);
            }
            return self.post(until - self.now, Message::To(who, input));
        }
        if input == Input::Tick && self.processes[who].timer.take_if(|timer| *timer <= self.now).is_none() {
            return;
        }
        let clock = self.clock(who);
        if matches!(input, Input::Stop { .. }) {
            // The shell closes the fence and waits for its last write before it says so.
            self.processes[who].fence = Moment::default();
            self.processes[who].stopped = true;
        }
        for output in self.processes[who].candidate.handle(clock, input) {
            match output {
                Output::Send(number, request) => {
                    let delay = self.processes[who].delays.0;
                    self.post(delay, Message::Request(who, number, request));
                }
                Output::Lead(until) => {
                    if !std::mem::replace(&mut self.processes[who].leads, true) {
                        (0..self.processes.len()).for_each(|other| self.check(who, other));
                    }
                    self.processes[who].fence = until;
                }
                // The fence stays as it was: what it let pass may still be on its way.
                Output::Lost(_) => self.processes[who].leads = false,
                Output::Stopped => {}
            }
        }
        let process = &self.processes[who];
        if let Some(deadline) = process.candidate.deadline() {
            let wait = u64::try_from(deadline.after(clock).as_millis()).unwrap() * 1000 / process.speed + 1;
            if process.timer.is_none_or(|timer| self.now + wait < timer) {
                self.processes[who].timer = Some(self.now + wait);
                self.post(wait, Message::To(who, Input::Tick));
            }
        }
    }

    /// Whoever begins to lead does so only when nothing that anybody sent before can take effect any more.
    fn check(&self, who: usize, other: usize) {
        let fence = self.processes[other].fence;
        // Clocks differ by up to a hundredth, which is a tenth of a second here.
        let effect = fence + (AFTERMATH - Duration::from_millis(200));
        let done = fence == Moment::default() || effect <= self.clock(other);
        assert!(done, "{who} leads at {} ms although {other} is not done", self.now);
    }

    fn run(&mut self, until: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((now, _), message) = entry.remove_entry();
            self.now = now;
            match message {
                Message::Trouble(trouble) => self.trouble(trouble),
                Message::To(who, input) => self.deliver(who, input),
                Message::Request(who, number, request) => {
                    if self.processes[who].cut_until > now {
                        continue;
                    }
                    let answer = self.serve(who, request);
                    if self.processes[who].cut_until <= now {
                        self.post(self.processes[who].delays.1, Message::To(who, Input::Answered(number, answer)));
                    }
                }
            }
        }
        self.now = until;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn two_never_lead_at_once_and_somebody_leads_when_the_trouble_is_over(
        clocks in prop::collection::vec((1_000u64..1_000_000_000, 990u64..1010), 3),
        troubles in prop::collection::vec((1u64..60_000, trouble()), 0..24),
    ) {
        let mut world = World::new(&clocks);
        for (time, trouble) in troubles {
            world.post(time, Message::Trouble(trouble));
        }
        world.run(85_000);
        for process in &mut world.processes {
            process.delays = (1, 1, 1);
        }
        world.run(125_000);
        let leaders = (0..3).filter(|who| world.processes[*who].leads && world.processes[*who].fence > world.clock(*who));
        let all_stopped = world.processes.iter().all(|process| process.stopped);
        prop_assert_eq!(leaders.count(), usize::from(!all_stopped));
    }
}
