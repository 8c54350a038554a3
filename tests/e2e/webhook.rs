//! What the webhook refuses, as a user of kubectl sees it.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::install::{announced_pool, install};
use e2e::suite::Suite;
use e2e::testbed::{Testbed, layout};
use e2e::wait;
use libtest_mimic::Trial;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("kubectl shows why the webhook refuses an object", |bed| async move { refusals(&bed).await }),
        suite.trial(
            "a pool that overlaps another is refused and the first stays",
            |bed| async move { overlap(&bed).await },
        ),
        suite.trial("peers of one node cannot have different autonomous systems of their own", |bed| async move {
            one_asn(&bed).await
        }),
        suite.trial("a webhook configuration that is replaced is trusted again within seconds", |bed| async move {
            replaced(&bed).await
        }),
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
        name: "a hold time below three seconds",
        yaml: "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: bad, namespace: metallb-system}, \
               spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.9.0.1, holdTime: 2s}}",
        words: "must be 0 or >=3s",
    },
    Case {
        name: "a keepalive time that equals the hold time",
        yaml: "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: bad, namespace: metallb-system}, \
               spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.9.0.1, holdTime: 9s, keepaliveTime: 9s}}",
        words: "must be lower than holdTime",
    },
    Case {
        name: "a keepalive time without a hold time, in the older version",
        yaml: "{apiVersion: metallb.io/v1beta1, kind: BGPPeer, metadata: {name: bad, namespace: metallb-system}, \
               spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.9.0.1, keepaliveTime: 9s}}",
        words: "keepaliveTime",
    },
    Case {
        name: "a peer without an autonomous system",
        yaml: "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: bad, namespace: metallb-system}, \
               spec: {myASN: 64500, peerAddress: 10.9.0.1}}",
        words: "missing peer ASN",
    },
    Case {
        name: "multi-hop towards a peer of the same autonomous system",
        yaml: "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: bad, namespace: metallb-system}, \
               spec: {myASN: 64500, peerASN: 64500, peerAddress: 10.9.0.1, ebgpMultiHop: true}}",
        words: "invalid ebgp-multihop parameter",
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
        // By the webhook, or already by a rule of the CRD in the same words.
        let refused = ["denied the request", "is invalid"].iter().any(|words| output.stderr.contains(words));
        ensure!(refused, "{}: {output}", case.name);
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

const PEER: &str = "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: NAME, namespace: metallb-system}, \
                    spec: {myASN: MY, peerASN: 64501, peerAddress: ADDRESS}}";

async fn one_asn(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let peer = |name, my, address| PEER.replace("NAME", name).replace("MY", my).replace("ADDRESS", address);
    let first = peer("first", "64500", "10.9.0.1");
    bed.apply(&first).await?;
    let refused = bed.try_apply(&peer("second", "64510", "10.9.0.2")).await?;
    let allowed = bed.try_apply(&peer("third", "64500", "10.9.0.3")).await?;
    bed.delete(&first).await?;
    bed.delete(&peer("third", "64500", "10.9.0.3")).await?;
    ensure!(!refused.ok() && refused.stderr.contains("has myAsn different from"), "{refused}");
    ensure!(allowed.ok(), "a second peer with the same autonomous system was refused: {allowed}");
    Ok(())
}

/// Whoever replaces the configuration takes the certificate authority out of it.
async fn replaced(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let name = "metallb-webhook-configuration";
    let strip = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    bed.kubectl(&["patch", "validatingwebhookconfiguration", name, "--type=json", "-p", strip]).await?.success()?;
    let path = "jsonpath={.webhooks[*].clientConfig.caBundle}";
    wait::until("the authority in every webhook", Duration::from_secs(10), || async {
        let told = bed.kubectl(&["get", "validatingwebhookconfiguration", name, "-o", path]).await?.success()?;
        let webhooks = bed
            .kubectl(&["get", "validatingwebhookconfiguration", name, "-o", "jsonpath={.webhooks[*].name}"])
            .await?
            .success()?;
        let (there, all) = (told.split_whitespace().count(), webhooks.split_whitespace().count());
        ensure!(all > 0 && there == all, "{there} of {all} have it");
        Ok(())
    })
    .await
}
