//! Private namespaces for one run, and the certainty that nothing outlives it.
//!
//! ```text
//!  outside (cargo test, cluster)          reaper: holds the run folder's lock, removes cgroups and folder at the end
//!    │ lifeline: a pipe                     ▲ lifeline: a pipe
//!    ├──────────────────────────────────────┘
//!    ▼
//!  unshare ── init (process 1 of new mount, pid and network namespaces)
//!               └── inside: the same program again, same arguments; starts the cluster, runs the tests
//! ```
//!
//! When the outer process ends, however it ends, both pipes close. Init then exits, the kernel kills every process of the
//! pid namespace and with them go mounts, bridges and network namespaces. What the kernel does not remove (cgroup folders,
//! the run folder) the reaper removes; if that was killed too, the next run finds the folder unlocked and sweeps it.
//!
//! The program is started again through `unshare(1)`: making namespaces in a process that has threads is not safe.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::cgroup;
use crate::testbed::outer;

/// Where runs keep their files, one folder per run.
pub const RUNS: &str = "/var/lib/metallb-testbed";

const ROLE: &str = "METALLB_TESTBED_ROLE";
const ID: &str = "METALLB_TESTBED_ID";

/// Folders that Kubernetes programs use under fixed names; each run has its own, empty ones.
const PRIVATE: &[&str] = &["/run/netns", "/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers"];

/// One run: its name and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    id: String,
}

impl Sandbox {
    /// A run with this name: 1 to 10 letters a-z and digits. It becomes part of the names of
    /// folders, cgroups and a network interface.
    pub fn named(id: &str) -> Result<Self> {
        let fits = (1..=10).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        ensure!(fits, "cluster name {id:?} is not usable: choose 1 to 10 letters a-z and digits");
        Ok(Self { id: id.to_owned() })
    }

    /// A run with a name that no other process has: the process id in base 36.
    pub fn unique() -> Self {
        let mut rest = std::process::id();
        let mut id = String::new();
        while rest > 0 {
            id.insert(0, char::from_digit(rest % 36, 36).unwrap_or('0'));
            rest /= 36;
        }
        Self { id: format!("t{id}") }
    }

    /// The run's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The run's folder.
    pub fn dir(&self) -> PathBuf {
        Path::new(RUNS).join(&self.id)
    }

    /// True while a reaper holds the run's folder.
    pub fn is_alive(&self) -> bool {
        File::open(self.dir().join("lock")).is_ok_and(|lock| lock.try_lock().is_err())
    }

    /// The process id, as seen from outside, of process 1 of the run's namespaces.
    pub fn init_pid(&self) -> Result<i32> {
        let path = self.dir().join("init.pid");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cluster {:?} is not running: cannot read {}", self.id, path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no process id", path.display()))
    }
}

/// What `main` of a program with a sandbox does: `outside` runs first and decides whether to [`enter`], `inside` runs in the
/// new namespaces. Everything else this program is called for (init, reaper) is handled here.
pub fn main(outside: impl FnOnce() -> Result<ExitCode>, inside: impl FnOnce(Sandbox) -> Result<ExitCode>) -> ExitCode {
    let sandbox = || Sandbox::named(&std::env::var(ID).unwrap_or_default());
    let done = match std::env::var(ROLE).as_deref() {
        Err(_) => outside(),
        Ok("init") => sandbox().and_then(|sandbox| init(&sandbox)),
        Ok("reaper") => sandbox().and_then(|sandbox| reaper(&sandbox)),
        Ok(_) => sandbox().and_then(inside),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs this program again inside new namespaces and waits for its end. On SIGINT, SIGTERM and SIGHUP everything inside is
/// killed. Returns the exit code of the inside, or 130 after a signal. `env` is set inside.
pub fn enter(sandbox: &Sandbox, env: &[(&str, String)]) -> Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "root is needed: the testbed makes network namespaces and mounts");
    let mut reaper = begin(sandbox)?;
    let ended = supervise(sandbox, &mut reaper, env);
    // Closing the pipe tells the reaper to remove what is left; its last act is to drop the folder.
    drop(reaper.stdin.take());
    let cleaned = reaper.wait().context("wait for the reaper")?;
    ensure!(cleaned.success(), "the run's folders could not be removed; the next run tries again");
    ended
}

fn supervise(sandbox: &Sandbox, reaper: &mut Child, env: &[(&str, String)]) -> Result<ExitCode> {
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--"])
        .arg(own_program()?)
        .args(std::env::args_os().skip(1))
        .env(ROLE, "init")
        .env(ID, sandbox.id())
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        // Ctrl-C reaches only the outer process, which then closes the lifeline: one way to end instead of two.
        .process_group(0)
        .kill_on_drop(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut child = command.spawn().context("start unshare (Debian package util-linux)")?;
        let lifeline = child.stdin.take();
        let unshare = child.id().context("unshare ended at once")?;
        if let Some(pipe) = reaper.stdin.as_mut() {
            writeln!(pipe, "{unshare}").context("tell the reaper what to wait for")?;
        }
        record_init(sandbox, unshare).await?;
        let status = tokio::select! {
            status = child.wait() => Some(status.context("wait for the sandbox")?),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        };
        match status {
            Some(status) => Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
            None => {
                drop(lifeline);
                // Dropping the child afterwards kills unshare, and that kills init.
                let _ = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
                Ok(ExitCode::from(130))
            }
        }
    })
}

/// Writes `init.pid`: the only child of unshare, as this pid namespace numbers it.
async fn record_init(sandbox: &Sandbox, unshare: u32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(child) = child_of(unshare) {
            let path = sandbox.dir().join("init.pid");
            return fs::write(&path, child.to_string()).with_context(|| format!("write {}", path.display()));
        }
        if !Path::new(&format!("/proc/{unshare}")).exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("unshare made no namespaces: are mount, pid and network namespaces allowed on this machine?")
}

fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // pid (name) state parent ...; the name may hold spaces and parentheses.
        let after_name = stat.rsplit_once(") ")?.1;
        let its_parent: u32 = after_name.split(' ').nth(1)?.parse().ok()?;
        (its_parent == parent).then_some(pid)
    })
}

/// Sweeps what killed runs left, makes the run's folder and starts its reaper.
fn begin(sandbox: &Sandbox) -> Result<Child> {
    fs::create_dir_all(RUNS).with_context(|| format!("make {RUNS}"))?;
    let guard = File::create(Path::new(RUNS).join(".lock")).with_context(|| format!("open {RUNS}/.lock"))?;
    guard.lock().with_context(|| format!("lock {RUNS}/.lock"))?;
    sweep_locked()?;
    let dir = sandbox.dir();
    ensure!(!dir.exists(), "cluster {:?} is running already; stop it first (make cluster-down)", sandbox.id());
    fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    fs::write(dir.join("supervisor.pid"), std::process::id().to_string()).context("write supervisor.pid")?;
    let mut reaper = Command::new(own_program()?)
        .env(ROLE, "reaper")
        .env(ID, sandbox.id())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Out of reach of Ctrl-C and of a signal to the caller's process group.
        .process_group(0)
        .spawn()
        .context("start the reaper")?;
    let mut ready = String::new();
    if let Some(stdout) = reaper.stdout.take() {
        BufReader::new(stdout).read_line(&mut ready).context("wait for the reaper")?;
    }
    ensure!(ready.trim() == "ready", "the reaper did not start");
    Ok(reaper)
}

/// Removes what killed runs left behind; returns their names.
pub fn sweep() -> Result<Vec<String>> {
    if !Path::new(RUNS).exists() {
        return Ok(Vec::new());
    }
    let guard = File::create(Path::new(RUNS).join(".lock")).with_context(|| format!("open {RUNS}/.lock"))?;
    guard.lock().with_context(|| format!("lock {RUNS}/.lock"))?;
    sweep_locked()
}

fn sweep_locked() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for run in runs()? {
        if !run.is_alive() {
            remove(&run).with_context(|| format!("remove what the killed run {:?} left", run.id()))?;
            swept.push(run.id);
        }
    }
    Ok(swept)
}

/// All runs that have a folder, dead or alive, sorted by name.
pub fn runs() -> Result<Vec<Sandbox>> {
    let Ok(entries) = fs::read_dir(RUNS) else { return Ok(Vec::new()) };
    let mut runs: Vec<Sandbox> =
        entries.flatten().filter_map(|entry| Sandbox::named(entry.file_name().to_str()?).ok()).collect();
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(runs)
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("find this program's own file")
}

/// Process 1 of the namespaces.
fn init(sandbox: &Sandbox) -> Result<ExitCode> {
    ensure!(std::process::id() == 1, "{ROLE}=init is set by the testbed for itself; unset it");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .context("make mounts shared inside the sandbox")?;
    for path in PRIVATE {
        fs::create_dir_all(path).with_context(|| format!("make {path}"))?;
        mount(Some("testbed"), *path, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .with_context(|| format!("mount a private {path}"))?;
    }
    let worker = Command::new(own_program()?)
        .args(std::env::args_os().skip(1))
        .env(ROLE, "inside")
        .env(ID, sandbox.id())
        .stdin(Stdio::null())
        .spawn()
        .context("start the inside of the sandbox")?;
    std::thread::spawn(|| {
        // Nothing is ever written: the read ends when the outer process does.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(130);
    });
    let worker = Pid::from_raw(i32::try_from(worker.id()).context("process id out of range")?);
    loop {
        // Also collects the orphans of containerd and of killed programs.
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == worker => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == worker => {
                bail!("the inside of the sandbox was killed by {signal}")
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for processes"),
        }
    }
}

/// Waits for the end of the run and removes what the kernel leaves.
fn reaper(sandbox: &Sandbox) -> Result<ExitCode> {
    let path = sandbox.dir().join("lock");
    let lock = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    lock.try_lock().with_context(|| format!("lock {}", path.display()))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    let mut told = String::new();
    let _ = std::io::stdin().read_to_string(&mut told);
    if let Ok(unshare) = told.trim().parse::<u32>() {
        let deadline = Instant::now() + Duration::from_secs(15);
        while runs_unshare(unshare) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if runs_unshare(unshare) {
            let pid = Pid::from_raw(i32::try_from(unshare).context("process id out of range")?);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    remove(sandbox)?;
    Ok(ExitCode::SUCCESS)
}

/// A zombie counts as gone: its parent may be slow to collect it.
fn runs_unshare(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains("(unshare)") && !stat.contains(") Z "))
}

/// Removes cgroups and folder of a run whose processes are dead or dying. Runs in the machine's mount namespace, where the
/// run's mounts are not visible, so nothing is deleted through them.
fn remove(sandbox: &Sandbox) -> Result<()> {
    cgroup::remove(sandbox.id())?;
    let link = outer::link(sandbox.id());
    if Path::new("/sys/class/net").join(&link).exists() {
        // It goes with the network namespace at its other end, but the kernel takes its time. Already gone is fine.
        let _ = Command::new("ip").args(["link", "delete", &link]).stderr(Stdio::null()).status();
    }
    let dir = sandbox.dir();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir_all(&dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("remove {}", dir.display()));
            }
            // A dying process may still write into the folder.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_name_never_leaves_its_folder() {
        for bad in ["", "..", "a/b", "A", "a-b", "abcdefghijk", "a b"] {
            assert!(Sandbox::named(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Sandbox::named("ci1").unwrap().dir(), Path::new("/var/lib/metallb-testbed/ci1"));
    }

    #[test]
    fn a_unique_name_is_a_valid_name() {
        let unique = Sandbox::unique();
        assert_eq!(Sandbox::named(unique.id()).unwrap(), unique);
    }
}
