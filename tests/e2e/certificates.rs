//! The webhook's certificates, with everything going wrong that is known to go wrong.
//!
//! A call is a pool that is created as a dry run: it goes through the webhook and changes nothing.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::install::{NAMESPACE, available, install, kind, manifest};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use serde_json::json;
use tokio::time::Instant;

const DEPLOYMENT: &str = "metallb-operator-webhook-server";
const SECRET: &str = "metallb-webhook-cert";
const REGISTRATION: &str = "metallb-webhook-configuration";
const SERVICES: [&str; 2] = ["metallb-webhook-service", "metallb-operator-webhook-service"];
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls must succeed again this long after somebody took the trust away. Putting it right takes milliseconds; the rest is
/// what the API server takes to notice both changes.
const RECOVERY: Duration = Duration::from_secs(2);

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("two webhook replicas that boot together make one certificate authority", |bed| async move {
            first_boot(&bed).await
        }),
        suite.trial(
            "no call fails while the certificate secret is deleted, garbled and written by others",
            |bed| async move { secret_in_trouble(&bed).await },
        ),
        suite.trial("a certificate authority whose key is lost gets a successor and no call fails", |bed| async move {
            successor(&bed).await
        }),
        suite.trial(
            "certificates that expired, are not valid yet or have other names are replaced at boot",
            |bed| async move { bad_certificates(&bed).await },
        ),
        suite.trial(
            "a certificate bundle that another manager overwrites every second is put right every time",
            |bed| async move { overwritten(&bed).await },
        ),
        suite.trial("a webhook replica is not ready before a registration trusts its certificate", |bed| async move {
            registration_later(&bed).await
        }),
    ]
}

fn secrets(bed: &Testbed) -> Api<Secret> {
    Api::namespaced(bed.api(), NAMESPACE)
}

fn registrations(bed: &Testbed) -> Api<ValidatingWebhookConfiguration> {
    Api::all(bed.api())
}

/// One change that the webhook judges and nobody stores.
async fn call(bed: &Testbed) -> Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(bed.api(), NAMESPACE, &kind("IPAddressPool"));
    let pool = DynamicObject::new("only-tried", &kind("IPAddressPool"))
        .within(NAMESPACE)
        .data(json!({"spec": {"addresses": ["203.0.113.0/24"]}}));
    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &pool).await.context("a call")?;
    Ok(())
}

/// What became of calls.
#[derive(Default)]
struct Calls {
    all: usize,
    failed: usize,
    longest: Duration,
    last: Option<String>,
}

/// Calls ten times a second while something is done, and a second longer.
async fn calls_while<T>(bed: &Testbed, work: impl Future<Output = Result<T>>) -> Result<(T, Calls)> {
    let mut calls = Calls::default();
    let calling = async {
        let mut failing: Option<Instant> = None;
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        loop {
            beat.tick().await;
            let outcome = call(bed).await;
            calls.all += 1;
            match outcome {
                Ok(()) => failing = None,
                Err(error) => {
                    let since = *failing.get_or_insert_with(Instant::now);
                    calls.failed += 1;
                    calls.longest = calls.longest.max(since.elapsed());
                    calls.last = Some(format!("{error:#}"));
                }
            }
        }
    };
    let work = async {
        let done = work.await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        done
    };
    let done = tokio::select! {
        done = work => done?,
        () = calling => return Err(anyhow!("the calls ended")),
    };
    Ok((done, calls))
}

fn none_failed(calls: &Calls) -> Result<()> {
    let last = calls.last.as_deref().unwrap_or_default();
    ensure!(calls.all > 0 && calls.failed == 0, "{} of {} calls failed, the last: {last}", calls.failed, calls.all);
    Ok(())
}

async fn scale(bed: &Testbed, replicas: i32) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(bed.api(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch(DEPLOYMENT, &PatchParams::default(), &patch).await.context("scale the webhook")?;
    if replicas > 0 {
        return available(bed, DEPLOYMENT).await;
    }
    e2e::install::pods_gone(bed, "component=webhook-server").await
}

fn text(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The certificates of a PEM text, in order.
fn certificates(pem: &str) -> Vec<String> {
    let all: String = pem.lines().map(str::trim).collect();
    let blocks = all.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks.filter_map(|block| Some(block.split_once("-----END CERTIFICATE-----")?.0.to_owned())).collect()
}

/// Whether every webhook trusts all of these.
async fn all_trust(bed: &Testbed, authorities: &[String]) -> Result<()> {
    for name in [REGISTRATION, "metallb-operator-webhook-configuration"] {
        let object = registrations(bed).get(name).await.with_context(|| format!("read {name}"))?;
        for webhook in object.webhooks.iter().flatten() {
            let bundle = webhook.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
            let trusted = certificates(&String::from_utf8_lossy(&bundle));
            ensure!(authorities.iter().all(|one| trusted.contains(one)), "{} does not trust them all", webhook.name);
        }
    }
    Ok(())
}

/// Overwrites every caBundle of one registration, as a manager that knows better.
async fn overwrite(bed: &Testbed, name: &str, bundle: &str) -> Result<()> {
    let object = registrations(bed).get(name).await?;
    let steps: Vec<_> = (0..object.webhooks.iter().flatten().count())
        .map(|at| {
            json!({"op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"),
                "value": ByteString(bundle.as_bytes().to_vec())})
        })
        .collect();
    let patch: Patch<()> = Patch::Json(serde_json::from_value(json!(steps))?);
    let params = PatchParams { field_manager: Some(String::from("meddler")), ..PatchParams::default() };
    registrations(bed).patch(name, &params, &patch).await.context("overwrite caBundles")?;
    Ok(())
}

async fn first_boot(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    scale(bed, 0).await?;
    bed.kubectl(&["-n", NAMESPACE, "delete", "secret", SECRET]).await?.success()?;
    for name in [REGISTRATION, "metallb-operator-webhook-configuration"] {
        overwrite(bed, name, "").await?;
    }
    scale(bed, 2).await?;
    let secret = secrets(bed).get(SECRET).await.context("read the Secret")?;
    let authorities = certificates(&text(&secret, "ca.crt"));
    ensure!(authorities.len() == 1, "{} authorities were made", authorities.len());
    all_trust(bed, &authorities).await?;
    // The endpoints of pods that just became ready are on their way.
    wait::until("calls to succeed", Duration::from_secs(10), || call(bed)).await?;
    let (_, calls) = calls_while(bed, async { Ok(()) }).await?;
    none_failed(&calls)?;
    let once = writes_of(bed).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(writes_of(bed).await? == once, "something is written although nothing changed");
    Ok(())
}

/// Versions of everything that the webhook writes.
async fn writes_of(bed: &Testbed) -> Result<Vec<Option<String>>> {
    let mut versions = vec![secrets(bed).get(SECRET).await?.resource_version()];
    for name in [REGISTRATION, "metallb-operator-webhook-configuration"] {
        versions.push(registrations(bed).get(name).await?.resource_version());
    }
    Ok(versions)
}

async fn secret_in_trouble(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    wait::until("calls to succeed", Duration::from_secs(10), || call(bed)).await?;
    let before = secrets(bed).get(SECRET).await.context("read the Secret")?;
    let same = |found: Option<&Secret>| -> Result<()> {
        let found = wait::present(found)?;
        for key in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
            ensure!(text(found, key) == text(&before, key), "{key} is another one");
        }
        Ok(())
    };
    let trouble = async {
        bed.kubectl(&["-n", NAMESPACE, "delete", "secret", SECRET]).await?.success()?;
        wait::object(secrets(bed), SECRET, "the Secret to come back", PATIENCE, same).await?;
        for key in ["tls.crt", "tls.key"] {
            let garbage = Patch::Merge(json!({"data": {key: ByteString(b"garbage".to_vec())}}));
            secrets(bed).patch(SECRET, &PatchParams::default(), &garbage).await.context("garble the Secret")?;
            wait::object(secrets(bed), SECRET, &format!("{key} to be put right"), PATIENCE, same).await?;
        }
        // Others write at the same time; a conflict is no error.
        for number in 0..10 {
            let note = Patch::Merge(json!({"metadata": {"annotations": {"note": number.to_string()}},
                "data": {"tls.crt": ByteString(b"garbage".to_vec())}}));
            secrets(bed).patch(SECRET, &PatchParams::default(), &note).await.context("write the Secret")?;
        }
        wait::object(secrets(bed), SECRET, "the Secret to be put right", PATIENCE, same).await
    };
    let ((), calls) = calls_while(bed, trouble).await?;
    none_failed(&calls)
}

async fn successor(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    wait::until("calls to succeed", Duration::from_secs(10), || call(bed)).await?;
    let before = certificates(&text(&secrets(bed).get(SECRET).await?, "ca.crt"));
    let pods = pod_names(bed).await?;
    let loss = async {
        let garbage = Patch::Merge(json!({"data": {"ca.key": ByteString(b"lost".to_vec())}}));
        secrets(bed).patch(SECRET, &PatchParams::default(), &garbage).await.context("lose the key")?;
        let what = "a successor of the authority";
        let now = wait::object(secrets(bed), SECRET, what, PATIENCE, |secret| {
            let now = certificates(&text(wait::present(secret)?, "ca.crt"));
            ensure!(now.len() == before.len() + 1, "{} authorities", now.len());
            Ok(now)
        })
        .await?;
        ensure!(before.iter().all(|old| now.contains(old)), "the old authority is gone while its leaf is served");
        wait::until("every webhook to trust both", PATIENCE, || all_trust(bed, &now)).await
    };
    let ((), calls) = calls_while(bed, loss).await?;
    none_failed(&calls)?;
    ensure!(pod_names(bed).await? == pods, "pods were restarted");
    Ok(())
}

async fn pod_names(bed: &Testbed) -> Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("component=webhook-server")).await?;
    let mut names: Vec<String> = pods.items.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// Authority and leaf, PEM: certificate and key of each.
struct Made {
    authority: [String; 2],
    leaf: [String; 2],
}

fn made(names: &[String], years: [(i32, i32); 2]) -> Result<Made> {
    let [authority_years, leaf_years] = years;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "metallb");
    params.distinguished_name.push(DnType::CommonName, "cert");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) =
        (date_time_ymd(authority_years.0, 1, 1), date_time_ymd(authority_years.1, 1, 1));
    let key = KeyPair::generate()?;
    let authority = [params.self_signed(&key)?.pem(), key.serialize_pem()];
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(leaf_years.0, 1, 1), date_time_ymd(leaf_years.1, 1, 1));
    let key = KeyPair::generate()?;
    let leaf = [params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()];
    Ok(Made { authority, leaf })
}

async fn bad_certificates(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let right: Vec<String> = SERVICES.iter().map(|service| format!("{service}.{NAMESPACE}.svc")).collect();
    let wrong = vec![format!("renamed.{NAMESPACE}.svc")];
    let cases = [
        ("the certificate has expired", &right, [(2000, 4000), (2000, 2001)]),
        ("authority and certificate have expired", &right, [(2000, 2001), (2000, 2001)]),
        ("the certificate was made by a clock that is far ahead", &right, [(2000, 4000), (3000, 3001)]),
        ("the certificate is for another name", &wrong, [(2000, 4000), (2000, 4000)]),
    ];
    for (name, names, years) in cases {
        let Made { authority, leaf } = made(names, years)?;
        scale(bed, 0).await?;
        let data = json!({"data": {
            "ca.crt": ByteString(authority[0].clone().into_bytes()), "ca.key": ByteString(authority[1].clone().into_bytes()),
            "tls.crt": ByteString(leaf[0].clone().into_bytes()), "tls.key": ByteString(leaf[1].clone().into_bytes())}});
        secrets(bed).patch(SECRET, &PatchParams::default(), &Patch::Merge(data)).await.context(name)?;
        overwrite(bed, REGISTRATION, &authority[0]).await.context(name)?;
        scale(bed, 2).await.context(name)?;
        wait::until("calls to succeed", Duration::from_secs(10), || call(bed)).await.context(name)?;
        let secret = secrets(bed).get(SECRET).await.context(name)?;
        ensure!(text(&secret, "tls.crt") != leaf[0], "{name}: it is still there");
        let expired = years[0].1 < 2026;
        let kept = certificates(&text(&secret, "ca.crt")).contains(&certificates(&authority[0])[0]);
        ensure!(kept != expired, "{name}: the authority was {}", if kept { "kept" } else { "thrown away" });
    }
    Ok(())
}

async fn overwritten(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    wait::until("calls to succeed", Duration::from_secs(10), || call(bed)).await?;
    let before = registrations(bed).get(REGISTRATION).await?;
    let foreign = made(&[String::from("foreign")], [(2000, 4000), (2000, 4000)])?.authority[0].clone();
    let meddling = async {
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..15 {
            beat.tick().await;
            overwrite(bed, REGISTRATION, &foreign).await?;
        }
        Ok(())
    };
    let ((), calls) = calls_while(bed, meddling).await?;
    let last = calls.last.clone().unwrap_or_default();
    let mut told = String::new();
    write!(told, "{} of {} calls failed, for {:?} at a time at most", calls.failed, calls.all, calls.longest)?;
    eprintln!("  {told}");
    ensure!(calls.longest < RECOVERY, "{told}; the last: {last}");
    wait::until("calls to succeed", RECOVERY, || call(bed)).await?;
    let after = registrations(bed).get(REGISTRATION).await?;
    ensure!(without_bundles(&after)? == without_bundles(&before)?, "more than caBundles was written");
    let ours = |entry: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.manager.as_deref() == Some("metallb-webhook")
    };
    let fields = after.managed_fields().iter().find(ours).context("the webhook has no field manager of its own")?;
    let fields = serde_json::to_string(&fields.fields_v1)?;
    ensure!(fields.contains("f:caBundle") && !fields.contains("f:rules"), "the webhook owns {fields}");
    Ok(())
}

fn without_bundles(object: &ValidatingWebhookConfiguration) -> Result<serde_json::Value> {
    let mut webhooks = object.webhooks.clone().unwrap_or_default();
    for webhook in &mut webhooks {
        webhook.client_config.ca_bundle = None;
    }
    Ok(serde_json::to_value(webhooks)?)
}

async fn registration_later(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    scale(bed, 0).await?;
    bed.kubectl(&["delete", "validatingwebhookconfiguration", REGISTRATION]).await?.success()?;
    let api: Api<Deployment> = Api::namespaced(bed.api(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": 2}}));
    api.patch(DEPLOYMENT, &PatchParams::default(), &patch).await.context("scale the webhook")?;
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let config = kube::runtime::watcher::Config::default().labels("component=webhook-server");
    let what = "replicas that run and say why they are not ready";
    wait::objects(pods.clone(), config, what, PATIENCE, |pods| {
        let running = |pod: &&Pod| pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Running");
        ensure!(pods.len() == 2 && pods.values().filter(running).count() == 2, "not both run yet");
        Ok(())
    })
    .await?;
    wait::until(what, PATIENCE, || async {
        for pod in pod_names(bed).await? {
            let logs = bed.kubectl(&["-n", NAMESPACE, "logs", &pod]).await?.success()?;
            ensure!(logs.contains(&format!("ValidatingWebhookConfiguration {REGISTRATION} does not exist")), "{logs}");
            let pod = pods.get(&pod).await?;
            let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
            ensure!(!conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True"), "it is ready");
        }
        Ok(())
    })
    .await?;
    bed.apply(&manifest()?).await?;
    available(bed, DEPLOYMENT).await?;
    wait::until("calls to succeed", Duration::from_secs(10), || call(bed)).await
}
