//! A start that cannot work ends, or waits, with one line that says what is wrong and how to mend it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

fn operator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_operator"));
    command.env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

fn with_environment(command: &mut Command) -> &mut Command {
    command.envs([("OPERATOR_NAMESPACE", "metallb-system"), ("CONTROLLER_IMAGE", "c:1"), ("SPEAKER_IMAGE", "s:1")])
}

fn errors(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| line.contains("\"level\":\"error\"")).map(str::to_owned).collect()
}

#[test]
fn a_wrong_flag_is_one_line_and_code_2() {
    let output = operator().arg("--log-level=loud").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("--log-level") && text.contains("loud") && text.contains("debug"), "{text}");
}

#[test]
fn a_missing_variable_is_one_line_and_code_1() {
    let output = operator().env("CONTROLLER_IMAGE", "c:1").env("SPEAKER_IMAGE", "s:1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = errors(&output);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("missing mandatory OPERATOR_NAMESPACE env variable: set it to"), "{errors:?}");
}

#[test]
fn no_cluster_at_all_is_one_line_and_code_1() {
    let output = with_environment(&mut operator()).arg("--port=0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = errors(&output);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("no Kubernetes cluster is configured"), "{errors:?}");
}

#[test]
fn an_apiserver_that_does_not_answer_is_named_once_and_waited_for() {
    let folder = std::env::temp_dir().join(format!("metallb-operator-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    // The port of a listener that is gone again: nobody answers there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let mut command = operator();
    let child = with_environment(&mut command).arg("--port=0").env("KUBECONFIG", &kubeconfig).stdout(Stdio::piped());
    let mut running = Running(child.spawn().unwrap());
    let line = running.line_with("does not answer");
    assert!(line.contains(&address.to_string()) || line.contains("Check that it runs"), "{line}");
    assert!(running.0.try_wait().unwrap().is_none(), "it goes on waiting");
    drop(running);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A program that ends with the test.
struct Running(Child);

impl Running {
    /// The first line of its log that holds `text`; the program is ended when it takes too long.
    fn line_with(&mut self, text: &str) -> String {
        let started = Instant::now();
        let log = BufReader::new(self.0.stdout.take().expect("a pipe"));
        let line = log.lines().map_while(Result::ok).take_while(|_| started.elapsed() < DEADLINE);
        line.into_iter().find(|line| line.contains(text)).expect("a line about it within the deadline")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
