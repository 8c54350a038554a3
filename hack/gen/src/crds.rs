//! `manifests/crds/<plural>.<group>.yaml`: one file per CustomResourceDefinition.

use std::path::Path;

use anyhow::Context;

use crate::{Artifact, HEADER, yaml};

/// The CustomResourceDefinition files.
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn artifacts() -> anyhow::Result<Vec<Artifact>> {
    api::crds()
        .into_iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().unwrap_or_default();
            let document = yaml::document(&crd).with_context(|| format!("write {name}"))?;
            Ok(Artifact {
                path: Path::new("manifests/crds").join(format!("{name}.yaml")),
                content: format!("{HEADER}{document}"),
            })
        })
        .collect()
}
