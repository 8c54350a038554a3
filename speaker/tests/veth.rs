//! The responders on real interfaces, asked by the tools people use.
//!
//! ```text
//!  namespace "client"                      namespace "node" (only CAP_NET_RAW)
//!  arping, ndisc6, ping -- veth eth0 ====== eth0 veth -- examples/announce
//! ```
//! Each test makes its own pair of network namespaces and removes it, also when it fails. `cargo test -p speaker` builds the
//! example; with `--test veth` alone, build it before.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const VIP: &str = "192.0.2.10";
const VIP6: &str = "2001:db8::10";
const PATIENCE: Duration = Duration::from_secs(15);
const TOOLS: [&str; 6] = ["ip", "arping", "ndisc6", "setpriv", "tcpdump", "ping"];

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/usr/local/sbin";
    path.split(':').map(|folder| Path::new(folder).join(tool)).find(|file| file.is_file())
}

/// Says what is missing on this machine instead of passing without a test.
fn require_tools() {
    let mut missing = String::new();
    for tool in TOOLS.iter().filter(|tool| find(tool).is_none()) {
        let _ = write!(missing, " {tool}");
    }
    assert!(missing.is_empty(), "these programs are missing:{missing}; run hack/deps.sh");
    let id = Command::new("id").arg("-u").output().expect("id runs");
    assert_eq!(
        String::from_utf8_lossy(&id.stdout).trim(),
        "0",
        "network namespaces need root; run as root (see hack/deps.sh)"
    );
}

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let path = find(program).unwrap_or_else(|| panic!("{program} is missing; run hack/deps.sh"));
    let output = Command::new(path).args(args).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn ip(line: &str) {
    let (done, text) = run("ip", &line.split(' ').collect::<Vec<_>>());
    assert!(done, "ip {line}: {text}");
}

/// A client and a node, joined by a cable.
struct Lab {
    name: String,
}

impl Lab {
    /// `name` is short and unique among the tests: it becomes part of namespace names.
    fn new(name: &str) -> Self {
        require_tools();
        let lab = Self { name: format!("mlb{}{name}", std::process::id()) };
        for side in ["client", "node"] {
            ip(&format!("netns add {}", lab.ns(side)));
            ip(&format!("-n {} link set lo up", lab.ns(side)));
        }
        lab.cable("eth0");
        lab.ip("client", "addr add 192.0.2.1/24 dev eth0");
        lab.ip("client", "addr add 2001:db8::1/64 dev eth0 nodad");
        lab
    }

    fn ns(&self, side: &str) -> String {
        format!("{}-{side}", self.name)
    }

    fn ip(&self, side: &str, line: &str) {
        ip(&format!("-n {} {line}", self.ns(side)));
    }

    /// A cable whose ends have the same name in both namespaces.
    fn cable(&self, interface: &str) {
        let (client, node) = (self.ns("client"), self.ns("node"));
        ip(&format!("-n {client} link add {interface} type veth peer name {interface} netns {node}"));
        self.ip("client", &format!("link set {interface} up"));
        self.ip("node", &format!("link set {interface} up"));
    }

    fn mac(&self, side: &str, interface: &str) -> String {
        let (_, text) = run("ip", &["-n", &self.ns(side), "-o", "link", "show", interface]);
        let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).unwrap_or_else(|| panic!("no address in {text}")).to_owned()
    }

    fn client(&self, program: &str, args: &[&str]) -> (bool, String) {
        let ns = self.ns("client");
        run("ip", &[&["netns", "exec", &ns, program], args].concat())
    }

    /// Who answers ARP for `address` on the client's interface: the hardware address, lower case.
    fn arp(&self, interface: &str, address: &str) -> Option<String> {
        let arping = ["-c", "1", "-w", "1", "-i", interface, address];
        let (answered, text) = self.client("arping", &arping);
        answered.then(|| mac_in(&text)).flatten()
    }

    /// Who answers a multicast solicitation for `address`.
    fn ndp(&self, interface: &str, address: &str) -> Option<String> {
        let (answered, text) = self.client("ndisc6", &["-1", "-r", "1", "-w", "1000", address, interface]);
        answered.then(|| mac_in(&text)).flatten()
    }

    /// The client keeps only what it learns from now on.
    fn capture(&self, filter: &str) -> Capture {
        let mut child = Command::new(find("ip").expect("ip"))
            .args(["netns", "exec", &self.ns("client"), "tcpdump", "-lnne", "-i", "eth0", filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let ready = BufReader::new(child.stderr.take().expect("stderr"));
        let listening = ready.lines().map_while(Result::ok).any(|line| line.contains("listening on"));
        assert!(listening, "tcpdump did not start");
        let lines = lines(BufReader::new(child.stdout.take().expect("stdout")));
        Capture { child, lines }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for side in ["client", "node"] {
            run("ip", &["netns", "del", &self.ns(side)]);
        }
    }
}

fn mac_in(text: &str) -> Option<String> {
    let is_mac = |word: &str| {
        let parts: Vec<&str> = word.split(':').collect();
        parts.len() == 6 && parts.iter().all(|part| !part.is_empty() && u8::from_str_radix(part, 16).is_ok())
    };
    let trimmed = |word: &str| word.trim_matches(|c: char| !c.is_ascii_hexdigit()).to_lowercase();
    let found = text.split_whitespace().map(trimmed).find(|word| is_mac(word))?;
    // Some tools leave out leading zeros.
    Some(found.split(':').map(|part| format!("{part:0>2}")).collect::<Vec<_>>().join(":"))
}

fn lines(reader: impl BufRead + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}

/// Frames that the client sees.
struct Capture {
    child: Child,
    lines: Receiver<String>,
}

impl Capture {
    /// The next `count` frames.
    fn next(&self, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| {
                let line = self.lines.recv_timeout(PATIENCE);
                line.unwrap_or_else(|_| panic!("only {number} of {count} frames came"))
            })
            .collect()
    }

    /// All frames within `time`.
    fn within(&self, time: Duration) -> Vec<String> {
        let deadline = Instant::now() + time;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return seen,
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program said so far, and a bell that rings when it says more.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    bell: Condvar,
}

/// The example program in the node's namespace, as root but with no capability other than NET_RAW.
struct Announcer {
    child: Child,
    stdin: ChildStdin,
    log: Arc<Log>,
}

impl Announcer {
    fn start(lab: &Lab, addresses: &[&str]) -> Self {
        let mut binary = std::env::current_exe().expect("own path");
        binary.pop();
        binary.pop();
        binary.push("examples/announce");
        assert!(binary.is_file(), "{} is missing; build it: cargo build -p speaker --examples", binary.display());
        let mut child = Command::new(find("ip").expect("ip"))
            .args(["netns", "exec", &lab.ns("node"), "setpriv", "--bounding-set", "-all,+net_raw"])
            .args(["--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw", "--no-new-privs", "--"])
            .arg(binary)
            .args(addresses)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the announcer starts");
        let log = Arc::new(Log::default());
        let (written, reader) = (log.clone(), BufReader::new(child.stdout.take().expect("stdout")));
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                written.lines.lock().expect("log").push(line);
                written.bell.notify_all();
            }
        });
        let stdin = child.stdin.take().expect("stdin");
        Self { child, stdin, log }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the announcer listens");
    }

    fn log(&self) -> String {
        self.log.lines.lock().expect("log").join("\n")
    }

    /// Waits for a log line with this event about this interface.
    fn wait_for(&self, event: &str, interface: &str) {
        let (event, interface) = (format!("\"{event}\""), format!("\"{interface}\""));
        let unsaid =
            |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(&event) && line.contains(&interface));
        let lines = self.log.lines.lock().expect("log");
        let (lines, outcome) = self.log.bell.wait_timeout_while(lines, PATIENCE, unsaid).expect("log");
        drop(lines);
        assert!(!outcome.timed_out(), "no log line with {event} and {interface} within {PATIENCE:?}");
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the announcer:\n{}", self.log());
        }
    }
}

/// Asks again and again until `condition` holds. Each condition here starts a program that asks the network or the kernel.
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
    }
}

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
    let changed = Instant::now();
    wait("ARP with the new hardware address", || lab.arp("late0", VIP).as_deref() == Some("02:00:00:00:12:34"));
    assert!(changed.elapsed() < Duration::from_secs(3), "took {:?}", changed.elapsed());
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
