//! `manifests/metallb-operator.yaml`: everything a cluster needs before the first MetalLB resource, in one file.

use std::path::PathBuf;

use anyhow::Context;
use operator::render::install::{Install, objects};

use crate::{Artifact, HEADER, yaml};

/// The image that `make image` builds. A registry's name comes in with a release.
const IMAGE: &str = concat!("localhost/metallb-rs:", env!("CARGO_PKG_VERSION"));

/// The flat manifest.
///
/// # Errors
/// When an object cannot be rendered or written as YAML.
pub fn artifacts() -> anyhow::Result<Vec<Artifact>> {
    let install = Install {
        namespace: api::names::NAMESPACE.to_owned(),
        image: IMAGE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let objects = objects(&install).context("render the flat manifest")?;
    let documents = yaml::stream(&objects).context("write the flat manifest")?;
    Ok(vec![Artifact {
        path: PathBuf::from("manifests/metallb-operator.yaml"),
        content: format!("{HEADER}{documents}"),
    }])
}
