//! Clusters for people and scripts: start one in the background, look into it, remove it.
//!
//! ```text
//! cluster up      starts `cluster supervise` in the background, follows its progress, connects the machine to it
//! cluster down    stops the supervisor; sandbox and reaper leave nothing behind
//! ```
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use e2e::sandbox::{self, Sandbox};
use e2e::testbed::{Cluster, Options, Testbed, artifacts, outer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Real Kubernetes clusters made of processes and network namespaces.
#[derive(Parser)]
#[command(name = "cluster", version)]
struct Cli {
    /// Name of the cluster: 1 to 10 letters a-z and digits.
    #[arg(long, global = true, default_value = "main")]
    id: String,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster in the background and print how to use it.
    Up(Parts),
    /// Remove the cluster, and what killed runs left.
    Down,
    /// List the clusters and runs of this machine.
    List,
    /// Run a command on a host: node1, node2, ..., client, hub.
    Exec {
        host: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run kubectl as administrator.
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Take the link of a host down.
    Cut { host: String },
    /// Take the link of a host up again.
    Restore { host: String },
    /// Load an image (docker-archive) into all nodes.
    Load { archive: PathBuf },
    /// Write logs, objects and network state into a folder.
    Dump { folder: PathBuf },
    /// Hold a cluster until this process ends (what `up` starts).
    #[command(hide = true)]
    Supervise(Parts),
}

#[derive(Args)]
struct Parts {
    /// Full nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Nodes without kubelet.
    #[arg(long, default_value_t = 0)]
    light_nodes: usize,
    /// Images (docker-archives) to load; default: target/image/metallb-rs.tar if it is there.
    #[arg(long)]
    image: Vec<PathBuf>,
}

impl Parts {
    fn options(&self) -> Options {
        let product = artifacts::image("metallb-rs");
        let images = match self.image.as_slice() {
            [] if product.exists() => vec![product],
            given => given.to_vec(),
        };
        Options { nodes: self.nodes, light_nodes: self.light_nodes, images }
    }
}

fn main() -> ExitCode {
    sandbox::main(outside, inside)
}

fn outside() -> Result<ExitCode> {
    let cli = Cli::parse();
    let sandbox = Sandbox::named(&cli.id)?;
    match cli.command {
        Verb::Up(_) => up(&sandbox),
        Verb::Supervise(_) => sandbox::enter(&sandbox, &artifacts::prepare()?),
        Verb::Down => down(&sandbox),
        Verb::List => list(),
        Verb::Exec { host, command } => {
            let cluster = Cluster::attach(&cli.id)?;
            let argv: Vec<&str> = command.iter().map(String::as_str).collect();
            Err(become_command(&cluster, cluster.host(&host)?.name(), &argv))
        }
        Verb::Kubectl { arguments } => {
            let cluster = Cluster::attach(&cli.id)?;
            let program = cluster.kubectl_program();
            let mut argv = vec![program.as_str()];
            argv.extend(arguments.iter().map(String::as_str));
            Err(become_command(&cluster, "hub", &argv))
        }
        Verb::Cut { host } => run(async { Cluster::attach(&cli.id)?.host(&host)?.cut().await }),
        Verb::Restore { host } => run(async { Cluster::attach(&cli.id)?.host(&host)?.restore().await }),
        Verb::Load { archive } => run(async {
            let archive = archive.canonicalize().with_context(|| format!("find {}", archive.display()))?;
            Cluster::attach(&cli.id)?.load_image(&archive).await
        }),
        Verb::Dump { folder } => run(async { Cluster::attach(&cli.id)?.dump(&folder).await }),
    }
}

/// Inside the sandbox: start the cluster and hold it.
fn inside(sandbox: Sandbox) -> Result<ExitCode> {
    let Verb::Supervise(parts) = Cli::parse().command else { bail!("only `cluster supervise` runs in a sandbox") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let _testbed = Testbed::start(sandbox, &parts.options()).await?;
        // Ends with the sandbox.
        std::future::pending::<()>().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn run(work: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)?;
    Ok(ExitCode::SUCCESS)
}

fn up(sandbox: &Sandbox) -> Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "root is needed: the cluster is made of namespaces and mounts");
    ensure!(!sandbox.is_alive(), "cluster {:?} is running already; `cluster down` removes it", sandbox.id());
    let start = Instant::now();
    let path = artifacts::repository().join("target").join(format!("cluster-{}.log", sandbox.id()));
    let log = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    // The same arguments with `supervise` for `up`; a session of its own, so that closing the terminal does not end it.
    let arguments = std::env::args_os().skip(1).map(|word| if word == "up" { "supervise".into() } else { word });
    let mut supervisor = Command::new("setsid")
        .arg(std::env::current_exe().context("find this program's own file")?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .spawn()
        .context("start setsid (Debian package util-linux)")?;
    let mut follow = File::open(&path).with_context(|| format!("read {}", path.display()))?;
    let ready = sandbox.dir().join("cluster.json");
    loop {
        relay(&mut follow)?;
        if let Some(status) = supervisor.try_wait().context("look at the supervisor")? {
            relay(&mut follow)?;
            bail!("the cluster did not start ({status}); see {}", path.display());
        }
        if ready.exists() {
            relay(&mut follow)?;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let cluster = Cluster::attach(sandbox.id())?;
    run(async { outer::connect(&cluster).await })?;
    tell(&cluster, start.elapsed())?;
    Ok(ExitCode::SUCCESS)
}

fn relay(log: &mut File) -> Result<()> {
    let mut text = Vec::new();
    let position = log.stream_position()?;
    log.read_to_end(&mut text).context("read the supervisor's log")?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    std::io::stderr().write_all(&text[..whole])?;
    log.seek(SeekFrom::Start(position + whole as u64))?;
    Ok(())
}

fn tell(cluster: &Cluster, took: Duration) -> Result<()> {
    let id = cluster.id();
    let name = if id == "main" { String::new() } else { format!("--id {id} ") };
    let kubectl = cluster.kubectl_program();
    let folder = Path::new(&kubectl).parent().map(Path::display).map(|path| path.to_string()).unwrap_or_default();
    writeln!(
        std::io::stdout(),
        "\nThe cluster is ready after {:.1} s. To use it:\n\n  \
           export KUBECONFIG={}\n  \
           export PATH={folder}:$PATH\n  \
           kubectl get nodes\n\n\
         A command on a host (node1, ..., client):  cargo run -qp e2e --bin cluster -- {name}exec client -- curl http://...\n\
         To remove it:                              cargo run -qp e2e --bin cluster -- {name}down",
        took.as_secs_f64(),
        cluster.outer_kubeconfig().display(),
    )?;
    Ok(())
}

fn down(sandbox: &Sandbox) -> Result<ExitCode> {
    let mut done = Vec::new();
    if sandbox.is_alive() {
        let path = sandbox.dir().join("supervisor.pid");
        let pid = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let pid = Pid::from_raw(pid.trim().parse().with_context(|| format!("understand {}", path.display()))?);
        kill(pid, Signal::SIGTERM).context("stop the supervisor of the cluster")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while sandbox.dir().exists() {
            ensure!(
                Instant::now() < deadline,
                "the cluster did not stop within 60 s; its folder is {}",
                sandbox.dir().display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        done.push(format!("cluster {} is removed", sandbox.id()));
    }
    done.extend(sandbox::sweep()?.into_iter().map(|id| format!("what the killed run {id} left is removed")));
    if done.is_empty() {
        done.push(format!("there is no cluster {:?}", sandbox.id()));
    }
    writeln!(std::io::stdout(), "{}", done.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> Result<ExitCode> {
    for run in sandbox::runs()? {
        let state = match (run.is_alive(), run.dir().join("cluster.json").exists()) {
            (true, true) => "running",
            (true, false) => "starting",
            (false, _) => "killed; `cluster down` sweeps it",
        };
        writeln!(std::io::stdout(), "{}\t{state}", run.id())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces this process; returns only when that failed.
fn become_command(cluster: &Cluster, host: &str, argv: &[&str]) -> anyhow::Error {
    let line = cluster.argv(host, argv);
    let mut parts = line.into_iter();
    let program = parts.next().unwrap_or_default();
    let error = Command::new(&program).args(parts).env("KUBECONFIG", cluster.kubeconfig()).exec();
    anyhow::Error::new(error).context(format!("start {}", program.to_string_lossy()))
}
