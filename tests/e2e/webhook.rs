//! What the webhook refuses, as a user of kubectl sees it.

use anyhow::{Result, ensure};
use e2e::install::{announced_pool, install};
use e2e::suite::Suite;
use e2e::testbed::{Testbed, layout};
use libtest_mimic::Trial;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("kubectl shows why the webhook refuses an object", |bed| async move { refusals(&bed).await }),
        suite.trial(
            "a pool that overlaps another is refused and the first stays",
            |bed| async move { overlap(&bed).await },
        ),
    ]
}

struct Case {
    name: &'static str,
    yaml: &'static str,
    /// Part of what kubectl prints.
    words: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "a range whose end is before its start",
        yaml: "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bad, namespace: metallb-system}, \
               spec: {addresses: [10.9.0.9-10.9.0.1]}}",
        words: "is after the end IP",
    },
    Case {
        name: "a range that is no range",
        yaml: "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bad, namespace: metallb-system}, \
               spec: {addresses: [10.9.0.0/33]}}",
        words: "invalid CIDR",
    },
    Case {
        name: "a pool in a namespace that is not the product's",
        yaml: "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bad, namespace: default}, \
               spec: {addresses: [10.9.0.0/24]}}",
        words: "must be created in metallb-system namespace",
    },
    Case {
        name: "a second MetalLB resource",
        yaml: "{apiVersion: metallb.io/v1beta1, kind: MetalLB, metadata: {name: metallb, namespace: default}}",
        words: "metallb-system",
    },
];

async fn refusals(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    for case in CASES {
        let output = bed.try_apply(case.yaml).await?;
        ensure!(!output.ok(), "{} was accepted", case.name);
        ensure!(output.stderr.contains("denied the request"), "{}: {output}", case.name);
        ensure!(output.stderr.contains(case.words), "{}: not {:?} but: {output}", case.name, case.words);
    }
    Ok(())
}

async fn overlap(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let pool = format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: other, namespace: metallb-system}}, \
         spec: {{addresses: [{}]}}}}",
        layout::POOL_V4
    );
    let output = bed.try_apply(&pool).await?;
    ensure!(!output.ok() && output.stderr.contains("overlaps"), "{output}");
    bed.kubectl(&["-n", "metallb-system", "get", "ipaddresspools.metallb.io", "lan"]).await?.success()?;
    Ok(())
}
