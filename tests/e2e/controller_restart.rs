//! A controller that starts again finds the addresses it gave out and keeps them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::install::{NAMESPACE, announced_pool, available, install};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::watcher::Config;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;

use crate::balancers::{Balancers, no_pool, pool};
use crate::web::{Web, ingress};

const CONTROLLER: &str = "app=metallb,component=controller";

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial(
            "services keep their addresses when the controller starts again",
            |bed| async move { keep(&bed).await },
        ),
        suite
            .trial("an address that was released while the controller was away is given out again", |bed| async move {
                released(&bed).await
            }),
        suite.trial(
            "a controller that starts finds every one of more than a thousand services and gives no address twice",
            |bed| async move { many(&bed).await },
        ),
    ]
}

async fn keep(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let mut before = Vec::new();
    // The first address is freed, so that a controller without memory would hand it out to the second service.
    for name in ["first", "second", "third"] {
        before.push((name, web.service(bed, name, "ipFamilies: [IPv4]").await?));
    }
    bed.kubectl(&["-n", &web.namespace, "delete", "service", "first"]).await?.success()?;
    restart(bed).await?;
    let new = web.service(bed, "fourth", "ipFamilies: [IPv4]").await?;
    for (name, addresses) in before.iter().skip(1) {
        let now = web.addresses(bed, name).await?;
        ensure!(now == *addresses, "{name} had {addresses:?} and now has {now:?}");
        ensure!(now != new, "{name} and a new service both have {new:?}");
    }
    web.end(bed).await
}

async fn released(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let freed = web.service(bed, "old", "ipFamilies: [IPv4]").await?;
    bed.kubectl(&["-n", NAMESPACE, "scale", "deployment/controller", "--replicas=0"]).await?.success()?;
    bed.kubectl(&["-n", &web.namespace, "delete", "service", "old"]).await?.success()?;
    // The operator heals the number of replicas; if it has done so already, nothing is left to do.
    available(bed, "controller").await?;
    let given = web.service(bed, "new", "ipFamilies: [IPv4]").await?;
    ensure!(given == freed, "{freed:?} is free and the lowest, but {given:?} was given");
    web.end(bed).await
}

/// More than what the controller takes in at once.
const MANY: usize = 1_100;

async fn many(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    pool(bed, "many", "10.99.0.0/20").await?;
    let balancers = Balancers::new(bed).await?;
    let annotations = [("metallb.io/address-pool", "many")];
    let api = balancers.api(bed);
    let creations = (0..MANY).map(|number| {
        let (api, service) = (api.clone(), balancers.object(&format!("one-{number}"), &annotations));
        async move { api.create(&PostParams::default(), &service?).await.context("make a service") }
    });
    stream::iter(creations).buffer_unordered(32).try_collect::<Vec<_>>().await?;
    balancers.served(bed, MANY, Duration::from_secs(60)).await?;
    let before = balancers.now(bed).await?;
    restart(bed).await?;
    balancers.create(bed, "newcomer", "metallb.io/address-pool: many", "").await?;
    let given = balancers.addresses(bed, "newcomer").await?;
    let mut now = balancers.now(bed).await?;
    now.remove("newcomer");
    let all: BTreeSet<_> = now.values().flatten().chain(&given).collect();
    ensure!(all.len() == MANY + 1, "{} services have {} addresses", MANY + 1, all.len());
    ensure!(now == before, "a service does not have the address that it had before");
    balancers.end(bed).await?;
    no_pool(bed, "many").await
}

async fn prepared(bed: &Testbed) -> Result<Web> {
    install(bed).await?;
    announced_pool(bed).await?;
    let web = Web::start(bed).await?;
    // Services of earlier trials go with their namespaces; their addresses must be free for these trials.
    let services: Api<Service> = Api::all(bed.api());
    wait::objects(services, Config::default(), "no service to have an address", Duration::from_secs(60), |services| {
        let taken =
            services.iter().filter(|(_, service)| ingress(service).is_ok_and(|addresses| !addresses.is_empty()));
        let taken: Vec<&str> = taken.map(|(name, _)| name.as_str()).collect();
        ensure!(taken.is_empty(), "{} have", taken.join(", "));
        Ok(())
    })
    .await?;
    Ok(web)
}

/// Deletes the controller's pod and waits for its successor.
async fn restart(bed: &Testbed) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let old = pods.list(&ListParams::default().labels(CONTROLLER)).await?.items;
    let old = old.first().context("there is no controller")?.name_any();
    pods.delete(&old, &DeleteParams::default()).await?;
    let selected = Config::default().labels(CONTROLLER);
    wait::objects(pods, selected, "a new controller to be ready", Duration::from_secs(60), |pods| {
        let ready = pods.values().filter(|pod| pod.name_any() != old && is_ready(pod)).count();
        ensure!(ready == 1, "{ready} are ready, there are {}", pods.keys().cloned().collect::<Vec<_>>().join(", "));
        Ok(())
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}
