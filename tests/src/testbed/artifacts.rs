//! Where the parts come from: Kubernetes programs, images, the repository itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Environment variable that tells the inside of the sandbox where the Kubernetes programs are.
pub const KUBERNETES: &str = "METALLB_TESTBED_KUBERNETES";

/// The repository's root.
pub fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// An image that `hack/image/build.sh` wrote: `metallb-rs`, `pause` or `web`.
pub fn image(name: &str) -> PathBuf {
    repository().join("target/image").join(format!("{name}.tar"))
}

/// Finds or builds the Kubernetes programs and the test images; to be called outside, where the network is.
pub fn prepare() -> Result<Vec<(&'static str, String)>> {
    let hack = repository().join("hack");
    let kubernetes = last_line(&hack.join("control-plane/build.sh"), &[])?;
    last_line(&hack.join("image/build.sh"), &["pause", "web"])?;
    Ok(vec![(KUBERNETES, kubernetes)])
}

/// The folder of the Kubernetes programs, as [`prepare`] found it.
pub fn kubernetes() -> Result<PathBuf> {
    std::env::var_os(KUBERNETES)
        .map(PathBuf::from)
        .with_context(|| format!("{KUBERNETES} is not set: the inside of the sandbox was not started by its outside"))
}

fn last_line(script: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(script)
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", script.display()))?;
    ensure!(output.status.success(), "{} failed", script.display());
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().next_back().with_context(|| format!("{} printed nothing", script.display()))?;
    Ok(last.to_owned())
}
