//! The sandbox program of a pod: holds the pod's namespaces until it is told to go.
//!
//! It runs as process 1 of the pod, and the kernel ignores signals that process 1 does not handle. Without a handler
//! every pod would take its whole grace period to stop.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("pause: cannot listen for signals");
        return ExitCode::FAILURE;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    ExitCode::SUCCESS
}
