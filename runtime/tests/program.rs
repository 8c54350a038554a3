//! The frame of a program, seen from outside: each test starts this very test binary again as a small program.
#![allow(clippy::unwrap_used)] // Clippy allows it only inside test functions; here the helpers are tests too.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use runtime::args::LogLevel;
use runtime::client::{Retry, connect, user_agent, wait_for_api};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use serde_json::Value;

/// Set in a child: which program it is to be.
const ROLE: &str = "METALLB_TEST_ROLE";

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
    #[arg(long, env = "METALLB_TEST_PORT", default_value_t = 9120)]
    port: u16,
}

/// Not a test of its own: what a child runs. Without a role it does nothing.
#[test]
fn role() {
    let Some(role) = runtime::args::environment(ROLE) else { return };
    let code = match role.strip_prefix("args ") {
        Some(line) => run_with_args(line),
        None => runtime::main("demo", LogLevel::Info, run(role)),
    };
    // ExitCode does not tell its number.
    let code = [0, 1, 2].into_iter().find(|number| code == ExitCode::from(*number));
    std::process::exit(code.map_or(99, i32::from));
}

fn run_with_args(line: &str) -> ExitCode {
    let words = std::iter::once("demo").chain(line.split(' ').filter(|word| !word.is_empty())).map(OsString::from);
    match runtime::args::parse::<Args>("demo", words) {
        Ok(args) => runtime::main("demo", args.log_level, async move {
            tracing::info!(target: "runtime", port = args.port, "parsed");
            Ok(())
        }),
        Err(code) => code,
    }
}

async fn run(role: String) -> anyhow::Result<()> {
    match role.as_str() {
        "fail" => anyhow::bail!("METALLB_NODE_NAME is not set; set it to the node's name"),
        "panic" => panic!("on purpose"),
        "connect" => {
            connect(&user_agent("demo"), Retry::Never).await?;
        }
        "wait" => {
            let shutdown = Shutdown::on_signals()?;
            let client = connect(&user_agent("demo"), Retry::Never).await?;
            anyhow::ensure!(!wait_for_api(&client, &shutdown).await, "nobody should answer");
        }
        "serve" => {
            let shutdown = Shutdown::on_signals()?;
            let mut tasks = Tasks::new(shutdown.clone());
            tasks.spawn("the server", async move {
                shutdown.wait().await;
                Ok(())
            });
            tracing::info!(target: "runtime", "ready");
            tasks.run(Duration::from_secs(5)).await?;
        }
        "stubborn" => {
            let shutdown = Shutdown::on_signals()?;
            tracing::info!(target: "runtime", "ready");
            shutdown.wait().await;
            tracing::info!(target: "runtime", "ignoring");
            std::future::pending::<()>().await;
        }
        other => anyhow::bail!("no role {other}"),
    }
    Ok(())
}

fn child(role: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST").envs(environment.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(role: &str, environment: &[(&str, &str)]) -> Output {
    child(role, environment).output().unwrap()
}

/// The JSON lines of an output; the test harness's own lines are no JSON.
fn log_lines(bytes: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(|line| serde_json::from_str(line.trim_start_matches("test role ... ")).ok())
        .collect()
}

fn errors(output: &Output) -> Vec<String> {
    let lines = log_lines(&output.stdout);
    lines.iter().filter(|line| line["level"] == "error").map(|line| line["msg"].as_str().unwrap().to_owned()).collect()
}

/// A program that runs until it is told to stop; it is killed when the test ends early.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(role: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = child(role, environment).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line with this text.
    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return,
                Ok(_) => {}
                Err(error) => panic!("the program did not say {text:?}: {error}"),
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(status.success());
    }

    /// The exit code, once the program has closed its output.
    fn code(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < deadline, "the program does not end");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when the program has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_failing_program_says_why_in_one_json_line_and_exits_1() {
    let output = output("fail", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors(&output), ["METALLB_NODE_NAME is not set; set it to the node's name"]);
}

#[test]
fn the_first_line_is_metallbs_start_line() {
    let output = output("fail", &[]);
    let lines = log_lines(&output.stdout);
    let first = &lines[0];
    assert!(first["msg"].as_str().unwrap().starts_with("MetalLB demo starting (commit "), "{first}");
    assert_eq!(first["version"], runtime::version());
    assert!(first["commit"].is_string() && first["branch"].is_string() && first["caller"].is_string(), "{first}");
}

#[test]
fn a_panic_is_one_json_line_too() {
    let output = output("panic", &[]);
    assert!(!output.status.success());
    let errors = errors(&output);
    assert!(errors[0].starts_with("demo has a defect and ends: on purpose; "), "{errors:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("RUST_BACKTRACE"));
}

#[test]
fn a_wrong_flag_is_one_line_on_stderr_and_exit_code_2() {
    let output = output("args -log-levle=debug", &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("demo: unexpected argument '--log-levle' found") && text.contains("--log-level"),
        "{text}"
    );
}

#[test]
fn help_and_version_exit_0() {
    assert_eq!(output("args --help", &[]).status.code(), Some(0));
    let version = output("args --version", &[]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8(version.stdout).unwrap().contains(&format!("demo {}", runtime::version())));
}

#[test]
fn an_empty_environment_variable_counts_as_not_set() {
    let port = |environment: &[(&str, &str)]| {
        let output = output("args -log-level info", environment);
        log_lines(&output.stdout).iter().find(|line| line["msg"] == "parsed").unwrap()["port"].clone()
    };
    assert_eq!(port(&[("METALLB_TEST_PORT", "")]), 9120);
    assert_eq!(port(&[("METALLB_TEST_PORT", "17")]), 17);
}

#[test]
fn without_any_cluster_the_error_says_what_to_set() {
    let output = output("connect", &[("HOME", "/nonexistent")]);
    assert_eq!(output.status.code(), Some(1));
    let errors = errors(&output);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("no Kubernetes cluster is configured: "), "{errors:?}");
    assert!(errors[0].ends_with("run in a pod or set KUBECONFIG"), "{errors:?}");
}

#[test]
fn a_broken_kubeconfig_is_named() {
    let output = output("connect", &[("KUBECONFIG", "/nonexistent/config")]);
    let errors = errors(&output);
    assert!(
        errors[0].starts_with("cannot use KUBECONFIG=/nonexistent/config; name a file that kubectl works with: "),
        "{errors:?}"
    );
}

#[test]
fn a_pod_without_a_token_is_told_so() {
    let output = output("connect", &[("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", "1")]);
    let errors = errors(&output);
    assert!(errors[0].starts_with("cannot use the service account of this pod; mount its token"), "{errors:?}");
}

#[test]
fn an_unreachable_apiserver_is_one_line_and_the_program_waits_for_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = std::env::temp_dir().join(format!("metallb-kubeconfig-{}", std::process::id()));
    std::fs::write(
        &config,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\nusers: [{{name: c, user: {{}}}}]\n"
        ),
    )
    .unwrap();
    let program = Running::start("wait", &[("KUBECONFIG", config.to_str().unwrap())]);
    program.wait_for("the Kubernetes API does not answer: ");
    program.signal("TERM");
    program.wait_for("demo stopped");
    assert_eq!(program.code(), Some(0));
    std::fs::remove_file(&config).unwrap();
}

#[test]
fn a_signal_ends_the_program_in_good_order() {
    for name in ["TERM", "INT", "QUIT"] {
        let program = Running::start("serve", &[]);
        program.wait_for("\"msg\":\"ready\"");
        program.signal(name);
        program.wait_for(&format!("\"signal\":\"SIG{name}\""));
        program.wait_for("demo stopped");
        assert_eq!(program.code(), Some(0), "{name}");
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let program = Running::start("stubborn", &[]);
    program.wait_for("\"msg\":\"ready\"");
    program.signal("TERM");
    program.wait_for("\"msg\":\"ignoring\"");
    program.signal("TERM");
    assert_eq!(program.code(), Some(130));
}
