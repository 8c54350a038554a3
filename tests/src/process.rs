//! What the kernel knows about a process: its age, its memory, its processor time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::testbed::Testbed;

/// A program that runs in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number in the sandbox.
    pub pid: i32,
    /// When it was started, to one clock tick (10 ms).
    pub started: Instant,
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident set.
    pub rss: u64,
    /// Resident set, pages that are shared with others counted in part.
    pub pss: u64,
    /// Highest resident set so far.
    pub peak: u64,
}

impl Process {
    /// The process of this name in a pod.
    ///
    /// # Errors
    /// The pod has none.
    pub fn in_pod(bed: &Testbed, pod: &Pod, name: &str) -> Result<Self> {
        let named = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
        let pids = bed.pod_processes(&pod.uid().unwrap_or_default())?;
        let pid = pids.into_iter().find(named);
        let pid = pid.with_context(|| format!("no process of pod {} is named {name}", pod.name_any()))?;
        Self::of(pid)
    }

    /// The process with this number.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> Result<Self> {
        let ticks = stat(pid, 22)?;
        let uptime = fs::read_to_string("/proc/uptime").context("read /proc/uptime")?;
        let uptime: f64 = uptime.split(' ').next().unwrap_or_default().parse().context("understand /proc/uptime")?;
        let age = uptime - ticks as f64 / hertz()?;
        let started = Instant::now().checked_sub(Duration::from_secs_f64(age.max(0.0)));
        Ok(Self { pid, started: started.context("a process is older than the clock")? })
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// It is gone.
    pub fn processor_time(&self) -> Result<Duration> {
        Ok(Duration::from_secs_f64((stat(self.pid, 14)? + stat(self.pid, 15)?) as f64 / hertz()?))
    }

    /// Its memory now.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory(&self) -> Result<Memory> {
        let of = |file: &str, key: &str| {
            let path = format!("/proc/{}/{file}", self.pid);
            let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().with_context(|| format!("understand {key}{line}"))
        };
        Ok(Memory { rss: of("status", "VmRSS:")?, pss: of("smaps_rollup", "Pss:")?, peak: of("status", "VmHWM:")? })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid), signal).with_context(|| format!("send {signal} to process {}", self.pid))
    }
}

/// Field of /proc/PID/stat, counted from 1 as in proc(5); only fields after the name.
fn stat(pid: i32, field: usize) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name may hold spaces and parentheses; the field after it is number 3.
    let (_, rest) = text.rsplit_once(") ").with_context(|| format!("{path} has no name"))?;
    ensure!(field >= 3, "field {field} is not after the name");
    let value = rest.split(' ').nth(field - 3).with_context(|| format!("{path} has no field {field}"))?;
    value.trim().parse().with_context(|| format!("field {field} of {path} is {value:?}"))
}

fn hertz() -> Result<f64> {
    let ticks = sysconf(SysconfVar::CLK_TCK).context("ask for the clock's ticks")?;
    Ok(ticks.context("the clock has no ticks")? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_age_memory_and_time() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.started <= Instant::now());
        assert!(own.started.elapsed() < Duration::from_secs(3600));
        let memory = own.memory().unwrap();
        assert!(memory.rss > 0 && memory.pss <= memory.rss && memory.rss <= memory.peak + 1024);
        own.processor_time().unwrap();
    }
}
