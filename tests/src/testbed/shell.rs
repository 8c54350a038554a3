//! Running a command to its end, inside the sandbox or from outside into it.

use std::ffi::OsString;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::sandbox::Sandbox;
use crate::testbed::layout::HUB;

/// A command that takes longer is killed and counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// From where commands are run.
#[derive(Debug, Clone)]
pub enum Reach {
    /// This process is inside the sandbox.
    Inside,
    /// This process is outside; the number is process 1 of the sandbox.
    Through(i32),
}

impl Reach {
    /// Reaches a running sandbox from outside.
    pub fn into_sandbox(sandbox: &Sandbox) -> Result<Self> {
        Ok(Self::Through(sandbox.init_pid()?))
    }

    /// The command line that runs `argv` in the network namespace of `host`.
    pub fn argv(&self, host: &str, argv: &[&str]) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        if let Self::Through(pid) = self {
            line.extend(["nsenter", "--target", &pid.to_string(), "--mount", "--pid", "--net"].map(Into::into));
            // Entering a mount namespace moves to its root; file names in the command line shall go on meaning the same.
            if let Ok(here) = std::env::current_dir() {
                line.push(format!("--wdns={}", here.display()).into());
            }
            line.push("--".into());
        }
        if host != HUB {
            // nsenter, not `ip netns exec`: that one hides the cgroup mounts.
            line.extend(["nsenter".into(), format!("--net=/run/netns/{host}").into(), "--".into()]);
        }
        line.extend(argv.iter().map(Into::into));
        line
    }

    /// As [`Reach::argv`], ready to be started.
    pub fn command(&self, host: &str, argv: &[&str]) -> Command {
        let line = self.argv(host, argv);
        let mut parts = line.into_iter();
        let mut command = Command::new(parts.next().unwrap_or_default());
        command.args(parts).kill_on_drop(true);
        command
    }
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// True when the exit code is 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output of a command that succeeded; else an error with all it said.
    pub fn success(self) -> Result<String> {
        if self.ok() {
            return Ok(self.stdout);
        }
        bail!("{self}")
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "`{}` ended with code {code}", self.line)?,
            None => write!(f, "`{}` was killed", self.line)?,
        }
        for text in [self.stdout.trim(), self.stderr.trim()] {
            if !text.is_empty() {
                write!(f, ": {text}")?;
            }
        }
        Ok(())
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub async fn run(mut command: Command, input: Option<&str>, patience: Duration) -> Result<Output> {
    let line = line_of(&command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start `{line}`: is it installed? (hack/deps.sh)"))?;
    let finish = async {
        let stdin = child.stdin.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A command that does not read its input is judged by its exit code.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        output
    };
    let output = tokio::time::timeout(patience, finish)
        .await
        .with_context(|| format!("`{line}` did not end within {} s", patience.as_secs()))?
        .with_context(|| format!("wait for `{line}`"))?;
    Ok(Output {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn line_of(command: &Command) -> String {
    let command = command.as_std();
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_a_host_is_wrapped_once_per_border() {
        let words = |reach: Reach, host| {
            let argv = reach.argv(host, &["ip", "route"]);
            argv.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(Reach::Inside, "hub"), "ip route");
        assert_eq!(words(Reach::Inside, "node1"), "nsenter --net=/run/netns/node1 -- ip route");
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            words(Reach::Through(7), "node1"),
            format!(
                "nsenter --target 7 --mount --pid --net --wdns={} -- nsenter --net=/run/netns/node1 -- ip route",
                here.display()
            )
        );
    }

    #[tokio::test]
    async fn a_failed_command_reports_its_line_code_and_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo bad >&2; exit 3"]);
        let output = run(command, Some("said"), PATIENCE).await.unwrap();
        let error = output.success().unwrap_err().to_string();
        assert_eq!(error, "`sh -c cat; echo bad >&2; exit 3` ended with code 3: said: bad");
    }
}
