//! Bad input on the command line and in the environment: one clear line that says what and how to mend it.

use std::process::{Command, Output};

/// The speaker with nothing but these variables in its environment.
fn speaker(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_speaker"));
    command.args(args).env_clear().envs(environment.iter().copied()).output().expect("the speaker starts")
}

/// The text of the one error line on stdout.
fn error_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("\"level\":\"error\"")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    errors[0].to_owned()
}

#[test]
fn a_missing_node_name_ends_with_metallbs_text() {
    let output = speaker(&["--namespace=metallb-system"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let line = error_line(&output);
    assert!(line.contains("\"msg\":\"must specify --node-name or METALLB_NODE_NAME\""), "{line}");
}

#[test]
fn environment_variables_that_are_empty_count_as_not_set() {
    let empty = [("METALLB_NODE_NAME", ""), ("METALLB_ML_BIND_PORT", ""), ("METALLB_BGP_TYPE", "")];
    let output = speaker(&["-namespace", "metallb-system"], &empty);
    assert!(error_line(&output).contains("must specify --node-name"));
}

#[test]
fn an_unknown_flag_and_a_wrong_value_are_named_on_stderr() {
    for (argument, named) in [("--log-lvl=info", "--log-lvl"), ("--port=many", "many"), ("-log-level=loud", "loud")] {
        let output = speaker(&[argument], &[]);
        assert_eq!(output.status.code(), Some(2), "{argument}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(named) && text.contains("run 'speaker --help'"), "{text}");
    }
}

#[test]
fn without_a_cluster_or_without_the_capability_the_line_names_the_remedy() {
    let output = speaker(&["--node-name=a", "--namespace=n"], &[("KUBECONFIG", "/nonexistent")]);
    assert_eq!(output.status.code(), Some(1));
    let line = error_line(&output);
    // Unprivileged, the missing capability is noticed first.
    assert!(line.contains("NET_RAW") || line.contains("KUBECONFIG=/nonexistent"), "{line}");
}
