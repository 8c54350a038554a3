//! A client on another host reaches a Service through layer 2, before and after the announcing node is cut off.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::install::{announced_pool, install};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use libtest_mimic::Trial;

use crate::web::{Web, announcer, fetched, url};

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("a client outside the cluster fetches a page from an ipv4 service", |bed| async move {
            fetch(&bed, "ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]", &[true]).await
        }),
        suite.trial("a client outside the cluster fetches a page from an ipv6 service", |bed| async move {
            fetch(&bed, "ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]", &[false]).await
        }),
        suite.trial("a client outside the cluster fetches a page from a dual-stack service", |bed| async move {
            fetch(&bed, "ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6]", &[true, false]).await
        }),
        suite.trial("another node takes over when the announcing node is cut off", |bed| async move {
            take_over(&bed).await
        }),
        suite.trial("an address is not answered once its service is gone", |bed| async move { withdraw(&bed).await }),
    ]
}

async fn prepared(bed: &Testbed) -> Result<Web> {
    install(bed).await?;
    announced_pool(bed).await?;
    Web::start(bed).await
}

/// `families`: true for IPv4.
async fn fetch(bed: &Testbed, spec: &str, families: &[bool]) -> Result<()> {
    let web = prepared(bed).await?;
    let addresses = web.service(bed, "web", spec).await?;
    let got: Vec<bool> = addresses.iter().map(IpAddr::is_ipv4).collect();
    ensure!(got == families, "the service has addresses {addresses:?}");
    for address in addresses {
        fetched(&bed.client(), address, Duration::from_secs(20)).await?;
    }
    web.end(bed).await
}

async fn take_over(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let addresses = web.service(bed, "web", "ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6]").await?;
    for address in addresses {
        fetched(&bed.client(), address, Duration::from_secs(20)).await?;
        let before = announcer(bed, address).await?;
        before.cut().await?;
        let cut = Instant::now();
        let after = taken_over(bed, address, before.name()).await;
        before.restore().await?;
        let (page, node) = after?;
        eprintln!(
            "{address}: {} was cut, {node} answered after {:.1} s: {}",
            before.name(),
            cut.elapsed().as_secs_f64(),
            page.trim()
        );
        bed.node_is_ready(before.name(), true, Duration::from_secs(60)).await?;
        e2e::install::speakers_ready(bed).await?;
    }
    web.end(bed).await
}

/// Waits for a page and an announcer other than `before`.
async fn taken_over(bed: &Testbed, address: IpAddr, before: &str) -> Result<(String, String)> {
    let client = bed.client();
    let what = format!("a page of {address} through a node other than {before}");
    wait::until(&what, Duration::from_secs(60), || async {
        let page = client.fetch(&url(address), Duration::from_secs(1)).await?;
        let node = announcer(bed, address).await?;
        ensure!(node.name() != before, "{before} still announces");
        Ok((page, node.name().to_owned()))
    })
    .await
}

async fn withdraw(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    for (name, family) in [("web4", "IPv4"), ("web6", "IPv6")] {
        let addresses = web.service(bed, name, &format!("ipFamilies: [{family}]")).await?;
        let Some(address) = addresses.first().copied() else { anyhow::bail!("{name} has no address") };
        fetched(&bed.client(), address, Duration::from_secs(20)).await?;
        bed.kubectl(&["-n", &web.namespace, "delete", "service", name]).await?.success()?;
        wait::until(&format!("{address} to be answered by nobody"), Duration::from_secs(20), || async {
            match announcer(bed, address).await {
                Ok(node) => anyhow::bail!("{} answers", node.name()),
                Err(_) => Ok(()),
            }
        })
        .await?;
    }
    web.end(bed).await
}
