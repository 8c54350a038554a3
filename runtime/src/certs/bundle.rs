//! The caBundle of admission webhooks: whom the apiserver trusts when it calls us.

use anyhow::{anyhow, bail};
use json_patch::Patch;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::PatchParams;
use kube::{Api, Client};
use serde_json::json;

use crate::client::{explain, http_code};

/// How often a write is tried against somebody who changes the object at the same time.
const ATTEMPTS: usize = 5;

/// Puts `ca_pem` into the caBundle of every webhook of a ValidatingWebhookConfiguration and reads it back; true when it
/// had to write.
///
/// # Errors
/// The object does not exist, the apiserver refuses, or somebody else keeps changing the object.
pub async fn inject_ca_bundle(client: &Client, name: &str, ca_pem: &str) -> anyhow::Result<bool> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let object = format!("ValidatingWebhookConfiguration {name}");
    let mut wrote = false;
    for _ in 0..ATTEMPTS {
        let current = api.get(name).await.map_err(|error| match http_code(&error) {
            Some(404) => anyhow!("{object} does not exist; apply manifests/metallb-operator.yaml"),
            _ => anyhow!("cannot read {object}: {}", explain(&error)),
        })?;
        let Some(patch) = ca_bundle_patch(&current, ca_pem) else { return Ok(wrote) };
        match api.patch(name, &PatchParams::default(), &kube::api::Patch::Json::<()>(patch)).await {
            Ok(_) => wrote = true,
            // A conflict, or a `test` that no longer holds: look again.
            Err(error) if matches!(http_code(&error), Some(409 | 422)) => {}
            Err(error) => bail!("cannot write the caBundle of {object}: {}", explain(&error)),
        }
    }
    bail!("{object} does not keep the caBundle; find out who else writes it")
}

/// The patch that makes every webhook trust `ca_pem`; `None` when all do. Each step first tests that the webhook at this
/// place is still the one that was read.
fn ca_bundle_patch(object: &ValidatingWebhookConfiguration, ca_pem: &str) -> Option<Patch> {
    let bundle = ByteString(ca_pem.as_bytes().to_vec());
    let mut steps = Vec::new();
    for (index, webhook) in object.webhooks.iter().flatten().enumerate() {
        if webhook.client_config.ca_bundle.as_ref() == Some(&bundle) {
            continue;
        }
        let path = format!("/webhooks/{index}");
        steps.push(json!({"op": "test", "path": format!("{path}/name"), "value": webhook.name}));
        if let Some(old) = &webhook.client_config.ca_bundle {
            steps.push(json!({"op": "test", "path": format!("{path}/clientConfig/caBundle"), "value": old}));
        }
        steps.push(json!({"op": "add", "path": format!("{path}/clientConfig/caBundle"), "value": bundle}));
    }
    if steps.is_empty() {
        return None;
    }
    // The steps are well formed by construction; if they were not, there would be nothing sensible to send.
    serde_json::from_value(steps.into()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> ValidatingWebhookConfiguration {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(index, bundle)| {
                let mut webhook = json!({"name": format!("hook{index}.metallb.io"), "sideEffects": "None",
                    "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "s", "namespace": "n"}}});
                if let Some(bundle) = bundle {
                    webhook["clientConfig"]["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
                }
                webhook
            })
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "metallb-webhook-configuration"}, "webhooks": webhooks}))
            .unwrap()
    }

    fn patched(object: &ValidatingWebhookConfiguration, patch: &Patch) -> ValidatingWebhookConfiguration {
        let mut value = serde_json::to_value(object).unwrap();
        json_patch::patch(&mut value, patch).unwrap();
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_webhooks_with_another_bundle_are_patched() {
        let object = configuration(&[Some("new"), None, Some("old")]);
        let patch = ca_bundle_patch(&object, "new").unwrap();
        assert_eq!(patch.0.len(), 2 + 3, "test and add for the second, two tests and add for the third");
        let result = patched(&object, &patch);
        assert_eq!(ca_bundle_patch(&result, "new"), None);
        assert_eq!(result, configuration(&[Some("new"), Some("new"), Some("new")]));
    }

    #[test]
    fn a_patch_does_not_touch_a_list_that_was_reordered_meanwhile() {
        let patch = ca_bundle_patch(&configuration(&[None, Some("new")]), "new").unwrap();
        let mut other = serde_json::to_value(configuration(&[None, Some("new")])).unwrap();
        other["webhooks"].as_array_mut().unwrap().reverse();
        assert!(json_patch::patch(&mut other, &patch).is_err());
    }

    #[test]
    fn an_empty_configuration_needs_nothing() {
        assert_eq!(ca_bundle_patch(&configuration(&[]), "new"), None);
    }

    #[tokio::test]
    async fn the_bundle_is_written_once_and_read_back() {
        let object = Arc::new(Mutex::new(configuration(&[None])));
        let methods = Arc::new(Mutex::new(Vec::new()));
        let (state, seen) = (object.clone(), methods.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (state, seen) = (state.clone(), seen.clone());
            async move {
                seen.lock().unwrap().push(request.method().clone());
                assert!(
                    request.uri().path().ends_with("/validatingwebhookconfigurations/metallb-webhook-configuration")
                );
                if request.method() == Method::PATCH {
                    let patch: Patch = serde_json::from_slice(&request.into_body().collect_bytes().await?).unwrap();
                    let mut object = state.lock().unwrap();
                    *object = patched(&object, &patch);
                }
                let body = serde_json::to_vec(&*state.lock().unwrap()).unwrap();
                Ok::<_, kube::Error>(Response::builder().status(StatusCode::OK).body(Body::from(body)).unwrap())
            }
        });
        let client = Client::new(service, "default");
        assert!(inject_ca_bundle(&client, "metallb-webhook-configuration", "new").await.unwrap());
        assert!(!inject_ca_bundle(&client, "metallb-webhook-configuration", "new").await.unwrap());
        assert_eq!(*methods.lock().unwrap(), [Method::GET, Method::PATCH, Method::GET, Method::GET]);
    }
}
