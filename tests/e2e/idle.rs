//! A cluster in which nothing changes: nobody writes, but for the renewal of Leases.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::audit::Mark;
use e2e::install::{announced_pool, install};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use libtest_mimic::Trial;

use crate::balancers::{Balancers, PATIENCE};

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![suite.trial("an idle minute passes without a write besides the renewal of leases", |bed| async move {
        idle(&bed).await
    })]
}

/// The span that is looked at.
const SPAN: Duration = Duration::from_secs(60);

async fn idle(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let balancers = Balancers::new(bed).await?;
    let names: Vec<String> = (1..=20).map(|number| format!("idle-{number}")).collect();
    balancers.create_all(bed, &names, "").await?;
    balancers.create(bed, "waiting", "metallb.io/address-pool: no-such-pool", "").await?;
    balancers.served(bed, names.len(), PATIENCE).await?;
    settled(bed).await?;
    let mark = Mark::now(bed)?;
    tokio::time::sleep(SPAN).await;
    let writes = mark.writes()?;
    let listed: Vec<String> = writes.iter().map(ToString::to_string).collect();
    ensure!(writes.is_empty(), "{} writes in {} s:\n{}", writes.len(), SPAN.as_secs(), listed.join("\n"));
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for request in mark.requests()? {
        *asked.entry(format!("{} {} {}", request.account, request.verb, request.resource)).or_default() += 1;
    }
    eprintln!("requests in {} idle seconds: {asked:?}", SPAN.as_secs());
    balancers.end(bed).await
}

/// Waits until what earlier trials left to do is done: five seconds without a write.
async fn settled(bed: &Testbed) -> Result<()> {
    wait::until("the product to have nothing left to write", Duration::from_secs(60), || async {
        let mark = Mark::now(bed)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let writes = mark.writes()?;
        ensure!(writes.is_empty(), "{} writes in five seconds, such as {}", writes.len(), writes[0]);
        Ok(())
    })
    .await
}
