//! Namespaces, cables, and the programs in them.
//!
//! ```text
//! Lab (namespaces, removed when it is dropped) --+-- Announcer: examples/announce in the node's namespace, its log and stdin
//!                                                `-- Capture: what the client sees
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub const VIP: &str = "192.0.2.10";
pub const VIP6: &str = "2001:db8::10";
pub const PATIENCE: Duration = Duration::from_secs(15);
const TOOLS: [&str; 6] = ["ip", "arping", "ndisc6", "setpriv", "tcpdump", "ping"];

pub fn find(tool: &str) -> Option<PathBuf> {
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

pub fn run(program: &str, args: &[&str]) -> (bool, String) {
    let path = find(program).unwrap_or_else(|| panic!("{program} is missing; run hack/deps.sh"));
    let output = Command::new(path).args(args).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

pub fn ip(line: &str) {
    let (done, text) = run("ip", &line.split(' ').collect::<Vec<_>>());
    assert!(done, "ip {line}: {text}");
}

/// A client and a node, joined by a cable.
pub struct Lab {
    name: String,
}

impl Lab {
    /// `name` is short and unique among the tests: it becomes part of namespace names.
    pub fn new(name: &str) -> Self {
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

    pub fn ns(&self, side: &str) -> String {
        format!("{}-{side}", self.name)
    }

    pub fn ip(&self, side: &str, line: &str) {
        ip(&format!("-n {} {line}", self.ns(side)));
    }

    /// A cable whose ends have the same name in both namespaces.
    pub fn cable(&self, interface: &str) {
        let (client, node) = (self.ns("client"), self.ns("node"));
        ip(&format!("-n {client} link add {interface} type veth peer name {interface} netns {node}"));
        self.ip("client", &format!("link set {interface} up"));
        self.ip("node", &format!("link set {interface} up"));
    }

    pub fn mac(&self, side: &str, interface: &str) -> String {
        let (_, text) = run("ip", &["-n", &self.ns(side), "-o", "link", "show", interface]);
        let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).unwrap_or_else(|| panic!("no address in {text}")).to_owned()
    }

    pub fn client(&self, program: &str, args: &[&str]) -> (bool, String) {
        let ns = self.ns("client");
        run("ip", &[&["netns", "exec", &ns, program], args].concat())
    }

    /// Who answers ARP for `address` on the client's interface: the hardware address, lower case.
    pub fn arp(&self, interface: &str, address: &str) -> Option<String> {
        let arping = ["-c", "1", "-w", "1", "-i", interface, address];
        let (answered, text) = self.client("arping", &arping);
        answered.then(|| mac_in(&text)).flatten()
    }

    /// Who answers a multicast solicitation for `address`.
    pub fn ndp(&self, interface: &str, address: &str) -> Option<String> {
        let (answered, text) = self.client("ndisc6", &["-1", "-r", "1", "-w", "1000", address, interface]);
        answered.then(|| mac_in(&text)).flatten()
    }

    /// Everyone who answers one broadcast question for `address` on the client's interface.
    pub fn all_arp(&self, interface: &str, more: &[&str], address: &str) -> BTreeSet<String> {
        let arping = [&["-c", "1", "-w", "1", "-i", interface], more, &[address]].concat();
        let (_, text) = self.client("arping", &arping);
        text.lines().filter(|line| line.contains("bytes from")).filter_map(mac_in).collect()
    }

    /// Asks every 20 ms until somebody answers with this hardware address, and says how long that took.
    pub fn answered_after(&self, interface: &str, address: &str, mac: &str) -> Duration {
        let start = Instant::now();
        let arping = ["-C", "1", "-c", "100", "-W", "0.02", "-w", "2", "-i", interface, address];
        wait("an answer", || mac_in(&self.client("arping", &arping).1).as_deref() == Some(mac));
        start.elapsed()
    }

    /// Runs the example `ask` on the client's interface.
    pub fn ask(&self, words: &[&str]) -> String {
        let (_, text) = run("ip", &["-n", &self.ns("client"), "-o", "link", "show", "eth0"]);
        let index = text.split(':').next().expect("index").to_owned();
        let (mac, ask) = (self.mac("client", "eth0"), example("ask"));
        let (done, text) = self.client(&ask.to_string_lossy(), &[&[index.as_str(), mac.as_str()], words].concat());
        assert!(done, "{text}");
        text
    }

    /// Another host on the client's network, in its own namespace. It and the node hear each other; the client hears the node.
    pub fn other_host(&self) -> String {
        let (client, other) = (self.ns("client"), self.ns("other"));
        ip(&format!("netns add {other}"));
        ip(&format!("-n {client} link add link eth0 name other0 type macvlan mode private"));
        ip(&format!("-n {client} link set other0 netns {other}"));
        self.ip("other", "link set other0 name eth0");
        self.ip("other", "link set eth0 up");
        self.mac("other", "eth0")
    }

    /// The client keeps only what it learns from now on.
    pub fn capture(&self, filter: &str) -> Capture {
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
        for side in ["client", "node", "other"] {
            run("ip", &["netns", "del", &self.ns(side)]);
        }
    }
}

pub fn mac_in(text: &str) -> Option<String> {
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
pub struct Capture {
    child: Child,
    lines: Receiver<String>,
}

impl Capture {
    /// The next `count` frames.
    pub fn next(&self, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| {
                let line = self.lines.recv_timeout(PATIENCE);
                line.unwrap_or_else(|_| panic!("only {number} of {count} frames came"))
            })
            .collect()
    }

    /// All frames within `time`.
    pub fn within(&self, time: Duration) -> Vec<String> {
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

/// The path of an example program of this crate.
fn example(name: &str) -> PathBuf {
    let mut binary = std::env::current_exe().expect("own path");
    binary.pop();
    binary.pop();
    binary.push(format!("examples/{name}"));
    assert!(binary.is_file(), "{} is missing; build it: cargo build -p speaker --examples", binary.display());
    binary
}

/// The example program in the node's namespace, as root but with no capability other than NET_RAW.
pub struct Announcer {
    child: Child,
    stdin: ChildStdin,
    log: Arc<Log>,
}

impl Announcer {
    pub fn start(lab: &Lab, addresses: &[&str]) -> Self {
        let binary = example("announce");
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

    /// The process id of the program itself, which the tools before it have become.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How often the program's threads went to sleep and were woken again.
    pub fn wakes(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("threads");
        let count = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        threads.flatten().map(count).sum()
    }

    /// The value of a metric now.
    pub fn metric(&mut self, name: &str) -> u64 {
        let text = self.metrics();
        let (_, after) = text.split_once(name).unwrap_or_else(|| panic!("no {name} in {text}"));
        let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }

    /// All metrics as they are now.
    pub fn metrics(&mut self) -> String {
        let mark = "\"metrics\"";
        let before = self.count(mark);
        self.say("metrics");
        self.wait_for_lines(mark, before + 1);
        let lines = self.log.lines.lock().expect("log");
        lines.iter().rev().find(|line| line.contains(mark)).cloned().unwrap_or_default()
    }

    /// How many log lines contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.log.lines.lock().expect("log").iter().filter(|line| line.contains(text)).count()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the announcer listens");
    }

    pub fn log(&self) -> String {
        self.log.lines.lock().expect("log").join("\n")
    }

    /// Waits for a log line with this event about this interface.
    pub fn wait_for(&self, event: &str, interface: &str) {
        let (event, interface) = (format!("\"{event}\""), format!("\"{interface}\""));
        self.wait_until(&format!("a log line with {event} and {interface}"), |lines| {
            lines.iter().any(|line| line.contains(&event) && line.contains(&interface))
        });
    }

    /// Waits for `count` log lines that contain `text`.
    pub fn wait_for_lines(&self, text: &str, count: usize) {
        self.wait_until(&format!("{count} lines with {text}"), |lines| {
            lines.iter().filter(|line| line.contains(text)).count() >= count
        });
    }

    fn wait_until(&self, what: &str, said: impl Fn(&[String]) -> bool) {
        let lines = self.log.lines.lock().expect("log");
        let (lines, outcome) = self.log.bell.wait_timeout_while(lines, PATIENCE, |lines| !said(lines)).expect("log");
        drop(lines);
        assert!(!outcome.timed_out(), "{what}: not within {PATIENCE:?}");
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
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
    }
}
