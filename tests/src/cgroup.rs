//! A cgroup of its own for each node's kubelet, under both cgroup versions.
//!
//! ```text
//! version 1   /sys/fs/cgroup/<controller>/metallb-testbed-<id>/<node>     in every hierarchy
//! version 2   /sys/fs/cgroup/metallb-testbed-<id>/<node>
//! ```
//!
//! Two kubelets below one root kill each other's pods as orphans.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROOT: &str = "/sys/fs/cgroup";

fn name(id: &str) -> String {
    format!("metallb-testbed-{id}")
}

/// True when the machine has one unified hierarchy.
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Makes the node's cgroup and returns the kubelet's `cgroupRoot`.
pub fn make(id: &str, node: &str) -> Result<String> {
    let own = format!("{}/{node}", name(id));
    if is_unified() {
        let parent = Path::new(ROOT).join(name(id));
        fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
        delegate(Path::new(ROOT))?;
        delegate(&parent)?;
        let node = Path::new(ROOT).join(&own);
        fs::create_dir_all(&node).with_context(|| format!("make {}", node.display()))?;
    } else {
        for hierarchy in hierarchies()? {
            let mut group = hierarchy.clone();
            for part in own.split('/') {
                let above = group.clone();
                group.push(part);
                fs::create_dir_all(&group).with_context(|| format!("make {}", group.display()))?;
                inherit_cpuset(&above, &group)?;
            }
        }
    }
    Ok(format!("/{own}"))
}

/// Version 2: lets children of this group use every controller it has.
fn delegate(group: &Path) -> Result<()> {
    let path = group.join("cgroup.controllers");
    let controllers = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let path = group.join("cgroup.subtree_control");
    for controller in controllers.split_whitespace() {
        fs::write(&path, format!("+{controller}")).with_context(|| {
            format!(
                "enable cgroup controller {controller} in {}; on this machine the testbed needs the real root cgroup",
                path.display()
            )
        })?;
    }
    Ok(())
}

/// Version 1: a new cpuset group is empty and takes no process until it has processors and memory nodes.
fn inherit_cpuset(above: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let from = above.join(file);
        if from.exists() {
            let value = fs::read_to_string(&from).with_context(|| format!("read {}", from.display()))?;
            let to = group.join(file);
            fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
        }
    }
    let clone = group.join("cgroup.clone_children");
    if group.join("cpuset.cpus").exists() {
        fs::write(&clone, "1").with_context(|| format!("write {}", clone.display()))?;
    }
    Ok(())
}

/// Version 1: the mounted hierarchies.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(ROOT).with_context(|| format!("read {ROOT}: are control groups mounted?"))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        // Links such as cpu -> cpu,cpuacct point at a hierarchy that is in the list itself.
        .filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists() && path.join("tasks").exists())
        .collect();
    found.sort();
    if found.is_empty() {
        bail!("no control groups are mounted at {ROOT}: mount cgroup2 there");
    }
    Ok(found)
}

/// Kills what is left in the run's cgroups and removes them.
pub fn remove(id: &str) -> Result<()> {
    let mut groups = vec![Path::new(ROOT).join(name(id))];
    if let Ok(entries) = fs::read_dir(ROOT) {
        groups.extend(entries.flatten().filter(|e| !e.path().is_symlink()).map(|entry| entry.path().join(name(id))));
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    for group in groups.into_iter().filter(|group| group.is_dir()) {
        loop {
            match remove_tree(&group) {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("remove cgroup {}", group.display()));
                }
                // A group is busy until the kernel has taken its dead processes apart.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    if let Ok(processes) = fs::read_to_string(group.join("cgroup.procs")) {
        for pid in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    fs::remove_dir(group)
}
