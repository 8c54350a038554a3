//! What is left of a cluster after it ended, however it ended: nothing.
//!
//! These tests stand outside the sandbox, start `cluster supervise` as a user would and look at the machine afterwards.
#![forbid(unsafe_code)]
// Every function here is part of a test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::sandbox::{self, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_cluster_with_light_nodes_that_is_told_to_end_leaves_nothing_behind() {
    let cluster = Supervised::start("ltold");
    let nodes = cluster.ask(&["kubectl", "get", "nodes", "--no-headers"]);
    for node in ["node1", "light1", "light2"] {
        assert!(nodes.lines().any(|line| line.starts_with(node) && line.contains(" Ready ")), "{node} in {nodes}");
    }
    for address in ["172.30.0.11", "172.30.1.2", "fc00:f853:ccd:e793::1002"] {
        cluster.ask(&["exec", "client", "--", "ping", "-c", "1", "-W", "5", address]);
    }
    cluster.signal(Signal::SIGTERM);
    cluster.must_be_gone();
}

#[test]
fn a_cluster_whose_supervisor_is_killed_leaves_nothing_behind() {
    let cluster = Supervised::start("lkilled");
    cluster.signal(Signal::SIGKILL);
    cluster.must_be_gone();
}

#[test]
fn what_a_killed_reaper_leaves_is_swept_by_the_next_run() {
    let cluster = Supervised::start("lreaper");
    for pid in cluster.outer_processes() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    until("the cluster's processes to be gone", || cluster.processes().is_empty());
    assert!(cluster.sandbox.dir().exists(), "the folder was removed though nobody was left to do it");
    assert!(sandbox::sweep().unwrap().contains(&cluster.sandbox.id().to_owned()));
    cluster.must_be_gone();
}

#[test]
fn a_second_cluster_of_the_same_name_is_refused_and_the_first_goes_on() {
    let cluster = Supervised::start("ltwice");
    let second = Command::new(env!("CARGO_BIN_EXE_cluster")).args(["--id", "ltwice", "up"]).output().unwrap();
    assert!(!second.status.success());
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("is running already"), "{words}");
    assert!(cluster.sandbox.is_alive());
    cluster.signal(Signal::SIGTERM);
    cluster.must_be_gone();
}

/// A cluster of one node and the process that holds it.
struct Supervised {
    sandbox: Sandbox,
    supervisor: Child,
    interfaces: BTreeSet<String>,
    mounts: usize,
}

impl Supervised {
    /// Returns when the node is Ready.
    fn start(id: &str) -> Self {
        let sandbox = Sandbox::named(id).unwrap();
        let (interfaces, mounts) = (interfaces(), mounts());
        let supervisor = Command::new(env!("CARGO_BIN_EXE_cluster"))
            .args(["--id", id, "supervise", "--nodes", "1", "--light-nodes", "2"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut cluster = Self { sandbox, supervisor, interfaces, mounts };
        let ready = cluster.sandbox.dir().join("cluster.json");
        until("the cluster to be ready", || {
            assert!(cluster.supervisor.try_wait().unwrap().is_none(), "the cluster did not start");
            ready.exists()
        });
        assert!(cluster.processes().len() >= 7, "a cluster has more processes than {:?}", cluster.processes());
        assert!(!groups(id).is_empty());
        cluster
    }

    /// Output of `cluster` with these arguments.
    fn ask(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
        let output = command.args(["--id", self.sandbox.id()]).args(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {words}{}", String::from_utf8_lossy(&output.stderr));
        words
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.supervisor.id().try_into().unwrap()), signal).unwrap();
    }

    /// Processes with the cluster's folder in their command line.
    fn processes(&self) -> Vec<i32> {
        let folder = format!("{}/", self.sandbox.dir().display());
        all_processes(|pid| read(pid, "cmdline").contains(&folder))
    }

    /// Supervisor and reaper: the processes of the testbed itself in the machine's own pid namespace.
    fn outer_processes(&self) -> Vec<i32> {
        let ours = std::fs::read_link("/proc/self/ns/pid").unwrap();
        let reaper = format!("METALLB_TESTBED_ID={}\0", self.sandbox.id());
        let mut found = all_processes(|pid| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|namespace| namespace == ours)
                && read(pid, "environ").contains(&reaper)
                && read(pid, "environ").contains("METALLB_TESTBED_ROLE=reaper")
        });
        found.push(self.supervisor.id().try_into().unwrap());
        found
    }

    fn must_be_gone(mut self) {
        let _ = self.supervisor.wait();
        until("the cluster's folder to be gone", || !self.sandbox.dir().exists());
        assert_eq!(self.processes(), [0; 0]);
        assert_eq!(groups(self.sandbox.id()), [""; 0]);
        until("the cluster's interfaces to be gone", || interfaces().is_subset(&self.interfaces));
        assert!(mounts() <= self.mounts, "mounts are left: {}", read(std::process::id().try_into().unwrap(), "mounts"));
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // After a failed assertion; the reaper does the rest.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "waited 120 s for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn all_processes(wanted: impl Fn(i32) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| wanted(*pid)).collect()
}

fn read(pid: i32, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()).into_owned()
}

/// Interfaces of the machine that the testbed could have made.
fn interfaces() -> BTreeSet<String> {
    names("/sys/class/net").filter(|name| ["lab", "mlb-", "v-"].iter().any(|ours| name.starts_with(ours))).collect()
}

fn mounts() -> usize {
    read(std::process::id().try_into().unwrap(), "mounts").matches("metallb-testbed").count()
}

fn groups(id: &str) -> Vec<String> {
    let name = format!("metallb-testbed-{id}");
    let root = "/sys/fs/cgroup";
    let all = std::iter::once(root.to_owned()).chain(names(root).map(|hierarchy| format!("{root}/{hierarchy}")));
    all.map(|folder| format!("{folder}/{name}")).filter(|path| Path::new(path).is_dir()).collect()
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
