//! The frame around every program: logs, crypto, the tokio runtime, one error line, the exit code.

use std::process::ExitCode;

use crate::args::LogLevel;
use crate::logging;

/// Threads that poll tasks. The default, one per core, costs a stack and a memory arena for each of a big node's cores.
const WORKERS: usize = 2;
/// Threads for file reads and name look-ups.
const BLOCKING: usize = 4;

/// Runs a program to its end.
///
/// Starts logging at `level`, makes ring the crypto provider, logs MetalLB's start line, runs `future` on a tokio runtime
/// with two workers. An error becomes one JSON line on stdout (and on stderr when the level hides it) and exit code 1.
pub fn main(program: &'static str, level: LogLevel, future: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    logging::init(program, level);
    crate::tls::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name(program)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(program, level, &anyhow::Error::from(error).context("cannot start threads")),
    };
    logging::log_start(program);
    let outcome = runtime.block_on(future);
    // A blocked thread (a slow name look-up) must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            tracing::info!(event = "exit", "{program} stopped");
            ExitCode::SUCCESS
        }
        Err(error) => failed(program, level, &error),
    }
}

fn failed(program: &str, level: LogLevel, error: &anyhow::Error) -> ExitCode {
    tracing::error!(event = "exit", "{error:#}");
    if level == LogLevel::None {
        eprintln!("{program}: {error:#}");
    }
    ExitCode::FAILURE
}
