//! What published guides promise about who reports what and where. The number in front of a name is the statement's number in
//! the list of such statements.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::install::{self, METALLB, NAMESPACE, install, kind, speakers_ready};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde_json::Value;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial(
            "s0_2 the controller and each speaker have a configuration state, which goes with the speaker",
            |bed| async move { come_and_go(&bed).await },
        ),
        suite
            .trial("s0_3 the controller alone may write the status of pools", |bed| async move { writers(&bed).await }),
        suite.trial(
            "s0_24 what is wrong makes a configuration state invalid with a summary and a reason",
            |bed| async move { invalid(&bed).await },
        ),
        suite
            .trial("s1_35 everything runs in the namespace metallb-system", |bed| async move { one_place(&bed).await }),
    ]
}

fn states(bed: &Testbed) -> Api<DynamicObject> {
    Api::namespaced_with(bed.api(), NAMESPACE, &kind("ConfigurationState"))
}

async fn states_are(bed: &Testbed, nodes: &[&str]) -> Result<()> {
    let mut names: BTreeSet<String> = nodes.iter().map(|node| format!("speaker-{node}")).collect();
    names.insert(String::from("controller"));
    wait::until(&format!("the configuration states {names:?}"), Duration::from_secs(60), || async {
        let stored = states(bed).list(&ListParams::default()).await?;
        let found: BTreeSet<String> = stored.iter().map(ResourceExt::name_any).collect();
        ensure!(found == names, "there are {found:?}");
        Ok(())
    })
    .await
}

async fn come_and_go(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let nodes = bed.nodes();
    let nodes: Vec<&str> = nodes.iter().map(|node| node.name()).collect();
    states_are(bed, &nodes).await?;
    let first = nodes.first().context("a cluster without nodes")?;
    let on_first = format!(r#"{{"spec": {{"nodeSelector": {{"kubernetes.io/hostname": "{first}"}}}}}}"#);
    let argv = ["-n", NAMESPACE, "patch", "metallbs.metallb.io", "metallb", "--type=merge", "-p", &on_first];
    bed.kubectl(&argv).await?.success()?;
    let gone = states_are(bed, &nodes[..1]).await;
    bed.kubectl_with(&["replace", "-f", "-"], Some(METALLB)).await?.success()?;
    gone.context("with the speakers of the other nodes gone")?;
    states_are(bed, &nodes).await.context("with the speakers back")?;
    speakers_ready(bed).await
}

async fn writers(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let of = |account: &str| format!("system:serviceaccount:{NAMESPACE}:{account}");
    for (account, expected) in [("controller", "yes"), ("speaker", "no")] {
        let user = of(account);
        let pools = ["ipaddresspools.metallb.io", "--subresource=status"];
        let argv = ["-n", NAMESPACE, "auth", "can-i", "update", pools[0], pools[1], "--as", &user];
        let answer = bed.kubectl(&argv).await?;
        ensure!(answer.stdout.trim() == expected, "may {account} write the status of pools? {answer}");
    }
    install::announced_pool(bed).await?;
    let pools: Api<DynamicObject> = Api::namespaced_with(bed.api(), NAMESPACE, &kind("IPAddressPool"));
    wait::until("every pool to have a status", Duration::from_secs(10), || async {
        for pool in pools.list(&ListParams::default()).await? {
            let managers: BTreeSet<String> = pool
                .managed_fields()
                .iter()
                .filter(|entry| entry.subresource.as_deref() == Some("status"))
                .filter_map(|entry| entry.manager.clone())
                .collect();
            ensure!(managers.len() == 1, "the status of {} is written by {managers:?}", pool.name_any());
        }
        Ok(())
    })
    .await
}

async fn invalid(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    // Another object can mend it, so admission lets it pass.
    let advertisement = r#"{"apiVersion": "metallb.io/v1beta1", "kind": "BGPAdvertisement", "spec": {"communities": ["no-such"]},
        "metadata": {"name": "names-nothing", "namespace": "metallb-system"}}"#;
    bed.apply(advertisement).await?;
    let shown = wait::until("the speakers' states to say what is wrong", Duration::from_secs(30), || async {
        let stored = states(bed).list(&ListParams::default()).await?;
        let speakers: Vec<&DynamicObject> =
            stored.iter().filter(|state| state.name_any().starts_with("speaker-")).collect();
        ensure!(!speakers.is_empty(), "no speaker has one");
        for state in speakers {
            let status = &state.data["status"];
            ensure!(status["result"] == "Invalid", "{status}");
            let summary = status["errorSummary"].as_str().unwrap_or_default();
            ensure!(summary.contains("invalid community format: no-such"), "{status}");
            let conditions = status["conditions"].as_array().context("it has no conditions")?;
            let own = |condition: &&Value| condition["type"] == "configReconcilerValid";
            let own = conditions.iter().find(own).context("its own is missing")?;
            ensure!(own["status"] == "False" && own["reason"] == "ConfigurationError", "{status}");
        }
        Ok(())
    })
    .await;
    bed.delete(advertisement).await?;
    shown?;
    wait::until("the states to be valid again", Duration::from_secs(30), || async {
        for state in states(bed).list(&ListParams::default()).await? {
            ensure!(state.data["status"]["result"] == "Valid", "{} is {}", state.name_any(), state.data["status"]);
        }
        Ok(())
    })
    .await
}

async fn one_place(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let argv = ["get", "pods", "-A", "-l", "app=metallb", "-o", "jsonpath={.items[*].metadata.namespace}"];
    let placed = bed.kubectl(&argv).await?.success()?;
    let namespaces: BTreeSet<&str> = placed.split_whitespace().collect();
    ensure!(namespaces == BTreeSet::from([NAMESPACE]), "they run in {namespaces:?}");
    let argv = ["-n", NAMESPACE, "get", "deployment/controller", "daemonset/speaker", "-o", "name"];
    let found = bed.kubectl(&argv).await?.success()?;
    ensure!(found.split_whitespace().eq(["deployment.apps/controller", "daemonset.apps/speaker"]), "{found}");
    Ok(())
}
