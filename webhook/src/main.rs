//! The webhook as a program of its own; the image runs it through the multi-call binary.

fn main() -> std::process::ExitCode {
    webhook::run(std::env::args_os())
}
