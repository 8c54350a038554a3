//! The real API server takes the CRDs and every example, and explains them.
//!
//! These trials come before the product is installed: an example must be valid by its schema alone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::suite::Suite;
use e2e::testbed::{Testbed, artifacts};
use e2e::wait;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::runtime::watcher::Config;
use libtest_mimic::Trial;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("the api server accepts every crd of the repository", |bed| async move {
            accepted(&bed).await?;
            Ok(())
        }),
        suite.trial("the api server accepts every example", |bed| async move { examples(&bed).await }),
        suite.trial("kubectl explains every kind", |bed| async move { explained(&bed).await }),
    ]
}

/// Applies the CRDs and waits until the API server serves them.
async fn accepted(bed: &Testbed) -> Result<Vec<CustomResourceDefinition>> {
    let files = yaml_files(&artifacts::repository().join("manifests/crds"))?;
    for (name, text) in &files {
        bed.apply(text).await.with_context(|| format!("apply manifests/crds/{name}"))?;
    }
    let crds: Api<CustomResourceDefinition> = Api::all(bed.api());
    wait::objects(crds, Config::default(), "all CRDs to be served", Duration::from_secs(30), |crds| {
        ensure!(crds.len() == files.len(), "{} of {} exist", crds.len(), files.len());
        for (name, crd) in crds {
            let conditions = crd.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            for wanted in ["NamesAccepted", "Established"] {
                let holds = conditions.iter().any(|one| one.type_ == wanted && one.status == "True");
                ensure!(holds, "{name} is not {wanted}: {conditions:?}");
            }
            let unstructural: Vec<_> = conditions.iter().filter(|one| one.type_ == "NonStructuralSchema").collect();
            ensure!(unstructural.is_empty(), "{name}: {unstructural:?}");
        }
        Ok(crds.values().cloned().collect())
    })
    .await
}

async fn examples(bed: &Testbed) -> Result<()> {
    accepted(bed).await?;
    let files = yaml_files(&artifacts::repository().join("tests/examples"))?;
    ensure!(!files.is_empty(), "tests/examples holds no example");
    // Examples name namespaces that a user has already.
    for namespace in files.iter().flat_map(|(_, text)| namespaces(text)) {
        bed.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n")).await?;
    }
    for (name, text) in &files {
        bed.apply(text).await.with_context(|| format!("apply tests/examples/{name}"))?;
        bed.delete(text).await.with_context(|| format!("delete tests/examples/{name}"))?;
    }
    Ok(())
}

async fn explained(bed: &Testbed) -> Result<()> {
    for crd in accepted(bed).await? {
        let (plural, group) = (&crd.spec.names.plural, &crd.spec.group);
        for version in crd.spec.versions.iter().filter(|version| version.served) {
            let version = format!("--api-version={group}/{}", version.name);
            let spec = has_spec(&crd).then(|| format!("{plural}.spec"));
            for of in std::iter::once(plural.clone()).chain(spec) {
                let what = format!("kubectl to explain {of} {version}");
                let words = wait::until(&what, Duration::from_secs(20), || async {
                    bed.kubectl(&["explain", &of, &version, "--recursive"]).await?.success()
                })
                .await?;
                let description = words.split_once("DESCRIPTION:").map(|(_, rest)| rest.trim_start());
                ensure!(
                    description.is_some_and(|text| !text.starts_with("<empty>") && !text.starts_with("FIELDS")),
                    "{of} has no description:\n{words}"
                );
                ensure!(of.ends_with(".spec") || words.contains("FIELDS:"), "{of} has no fields:\n{words}");
            }
        }
    }
    Ok(())
}

fn has_spec(crd: &CustomResourceDefinition) -> bool {
    crd.spec.versions.iter().any(|version| {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        schema.and_then(|schema| schema.properties.as_ref()).is_some_and(|fields| fields.contains_key("spec"))
    })
}

/// Files of a folder and its folders that end in .yaml, by path.
fn yaml_files(folder: &Path) -> Result<Vec<(String, String)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(yaml_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let text = without_server_fields(&text);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, text));
        }
    }
    Ok(files)
}

/// Examples that show what a cluster printed hold fields that only a server may set.
fn without_server_fields(yaml: &str) -> String {
    let set_by_server = ["uid:", "resourceVersion:", "creationTimestamp:", "generation:"];
    let kept = yaml.lines().filter(|line| !set_by_server.iter().any(|field| line.trim_start().starts_with(field)));
    kept.map(|line| format!("{line}\n")).collect()
}

fn namespaces(yaml: &str) -> Vec<String> {
    let fields = yaml.split(['\n', ',', '{', '}']).filter_map(|field| field.trim().strip_prefix("namespace:"));
    fields.map(|name| name.trim().trim_matches('"').to_owned()).collect()
}
