//! ValidatingWebhookConfigurations: whom the apiserver trusts when it calls us, and by which name.

use anyhow::anyhow;
use jiff::Timestamp;
use json_patch::Patch;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use kube::api::PatchParams;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::stored::{Authority, bundle};
use super::x509::{accepts, read_pem};
use crate::client::{explain, http_code};

/// One configuration as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    /// Its name.
    pub(crate) name: String,
    object: ValidatingWebhookConfiguration,
}

impl Registration {
    pub(crate) fn new(name: impl Into<String>, object: ValidatingWebhookConfiguration) -> Self {
        Self { name: name.into(), object }
    }

    /// With their places. One with a URL leads around the Service; whoever wrote it looks after its caBundle.
    fn places(&self) -> impl Iterator<Item = (usize, &ValidatingWebhook)> {
        let all = self.object.webhooks.iter().flatten().enumerate();
        all.filter(|(_, webhook)| webhook.client_config.service.is_some())
    }

    fn webhooks(&self) -> impl Iterator<Item = &ValidatingWebhook> {
        self.places().map(|(_, webhook)| webhook)
    }

    /// Everything that some webhook trusts.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.webhooks().flat_map(trusted)
    }

    /// Whether every webhook trusts this authority.
    pub(crate) fn trusts(&self, authority: &CertificateDer<'_>) -> bool {
        self.webhooks().all(|webhook| trusted(webhook).contains(authority))
    }

    /// Whether every webhook trusts these authorities, however they are written down and whatever else it trusts.
    pub(crate) fn is_in_order(&self, authorities: &[CertificateDer<'_>]) -> bool {
        authorities.iter().all(|authority| self.trusts(authority))
    }

    /// Whether a call of every webhook would find the server certificate `chain` good at `now`.
    ///
    /// # Errors
    /// One line that names the webhook and the reason.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), String> {
        self.each(chain, now, false)
    }

    /// As [`Self::accepts`], but a webhook without a caBundle counts as trusting: the apiserver then asks its system's
    /// authorities, which cannot be looked at from here.
    ///
    /// # Errors
    /// As [`Self::accepts`].
    pub(crate) fn accepts_mounted(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), String> {
        self.each(chain, now, true)
    }

    fn each(&self, chain: &[CertificateDer<'_>], now: Timestamp, system: bool) -> Result<(), String> {
        for webhook in self.webhooks() {
            let place = format!("webhook {} of ValidatingWebhookConfiguration {}", webhook.name, self.name);
            let Some(service) = &webhook.client_config.service else { continue };
            let authorities = trusted(webhook);
            if system && authorities.is_empty() {
                continue;
            }
            let name = format!("{}.{}.svc", service.name, service.namespace);
            accepts(&authorities, chain, &name, now)
                .map_err(|error| format!("{place} calls {name} and would not trust the certificate: {error}"))?;
        }
        Ok(())
    }

    /// The patch that makes every webhook trust `authorities`; `None` when all do. What it trusts already of ours stays, so
    /// that a replica which saw an older Secret takes nothing away. Each step first tests that the webhook at this place is
    /// still the one that was read, and nothing but caBundles is touched.
    pub(crate) fn patch(&self, authorities: &[Authority], now: Timestamp) -> Option<Patch> {
        let mut steps = Vec::new();
        for (index, webhook) in self.places() {
            let there = trusted(webhook);
            if authorities.iter().all(|authority| there.contains(&authority.der)) {
                continue;
            }
            let mut all = authorities.to_vec();
            let ours =
                |other: &Authority| authorities.iter().any(|one| one.is_namesake(other)) && other.not_after >= now;
            let missing = there.into_iter().filter_map(Authority::new).filter(ours);
            for authority in missing {
                if !all.contains(&authority) {
                    all.push(authority);
                }
            }
            let value = ByteString(bundle(&all).into_bytes());
            let path = format!("/webhooks/{index}");
            steps.push(json!({"op": "test", "path": format!("{path}/name"), "value": webhook.name}));
            if let Some(old) = &webhook.client_config.ca_bundle {
                steps.push(json!({"op": "test", "path": format!("{path}/clientConfig/caBundle"), "value": old}));
            }
            steps.push(json!({"op": "add", "path": format!("{path}/clientConfig/caBundle"), "value": value}));
        }
        if steps.is_empty() {
            return None;
        }
        // The steps are well formed by construction; if they were not, there would be nothing sensible to send.
        serde_json::from_value(steps.into()).ok()
    }
}

fn trusted(webhook: &ValidatingWebhook) -> Vec<CertificateDer<'static>> {
    webhook.client_config.ca_bundle.as_ref().and_then(|bundle| read_pem(&bundle.0)).unwrap_or_default()
}

/// Reads those of the named configurations that exist.
pub(crate) async fn read(client: &Client, names: &[String]) -> anyhow::Result<Vec<Registration>> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mut found = Vec::new();
    for name in names {
        let object = api.get_opt(name).await;
        let object = object
            .map_err(|error| anyhow!("cannot read ValidatingWebhookConfiguration {name}: {}", explain(&error)))?;
        found.extend(object.map(|object| Registration::new(name, object)));
    }
    Ok(found)
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is stored.
    Yes,
    /// Somebody else changed the object meanwhile, or it is gone; look again.
    Conflict,
}

/// Sends a patch made by [`Registration::patch`].
pub(crate) async fn write(client: &Client, name: &str, manager: &str, patch: Patch) -> anyhow::Result<Written> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    match api.patch(name, &params, &kube::api::Patch::Json::<()>(patch)).await {
        Ok(_) => Ok(Written::Yes),
        // A conflict, a `test` that no longer holds, or nothing to write to.
        Err(error) if matches!(http_code(&error), Some(404 | 409 | 422)) => Ok(Written::Conflict),
        Err(error) => {
            Err(anyhow!("cannot write the caBundle of ValidatingWebhookConfiguration {name}: {}", explain(&error)))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::ToSpan;
    use serde_json::Value;

    use super::*;
    use crate::certs::CertificateAuthority;

    pub(crate) const SERVICE: &str = "metallb-webhook-service";

    pub(crate) fn configuration(bundles: &[Option<&str>]) -> ValidatingWebhookConfiguration {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(index, bundle)| {
                let mut webhook = json!({"name": format!("hook{index}.metallb.io"), "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {"service": {"name": SERVICE, "namespace": "metallb-system"}}});
                if let Some(bundle) = bundle {
                    webhook["clientConfig"]["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
                }
                webhook
            })
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "metallb-webhook-configuration"}, "webhooks": webhooks}))
            .unwrap()
    }

    pub(crate) fn patched(
        object: &ValidatingWebhookConfiguration,
        patch: &Patch,
    ) -> Result<ValidatingWebhookConfiguration, json_patch::PatchError> {
        let mut value = serde_json::to_value(object).unwrap();
        json_patch::patch(&mut value, patch)?;
        Ok(serde_json::from_value(value).unwrap())
    }

    fn registration(bundles: &[Option<&str>]) -> Registration {
        Registration::new("c", configuration(bundles))
    }

    fn authority() -> (String, Vec<Authority>) {
        let pem = CertificateAuthority::generate(Timestamp::now()).unwrap().pair().cert_pem.clone();
        let all = read_pem(pem.as_bytes()).unwrap().into_iter().filter_map(Authority::new);
        (pem, all.collect())
    }

    fn patch(found: &Registration, authorities: &[Authority]) -> Option<Patch> {
        found.patch(authorities, Timestamp::now())
    }

    #[test]
    fn only_webhooks_that_lack_an_authority_are_patched_and_keep_what_is_ours() {
        let ((new_pem, new), (old, _)) = (authority(), authority());
        let found = registration(&[Some(&new_pem), None, Some(&old)]);
        let steps = patch(&found, &new).unwrap();
        assert_eq!(steps.0.len(), 2 + 3, "test and add for the second, two tests and add for the third");
        let result = Registration::new("c", patched(&found.object, &steps).unwrap());
        assert!(result.is_in_order(&[new[0].der.clone()]) && !found.trusts(&new[0].der));
        assert_eq!(patch(&result, &new), None);
        let both = bundle(&[new[0].clone(), Authority::new(read_pem(old.as_bytes()).unwrap().remove(0)).unwrap()]);
        let new = bundle(&new);
        assert_eq!(result.object, configuration(&[Some(&new_pem), Some(&new), Some(&both)]));
    }

    #[test]
    fn what_has_expired_or_is_not_ours_goes_when_a_bundle_is_written_and_not_before() {
        let now = Timestamp::now();
        let expired = CertificateAuthority::generate(now - (4000 * 24).hours()).unwrap().pair().cert_pem.clone();
        let foreign = crate::certs::self_signed(now, &[String::from("a")]).unwrap().cert_pem;
        let (_, new) = authority();
        let found = registration(&[Some(&format!("{expired}{foreign}"))]);
        let result = patched(&found.object, &patch(&found, &new).unwrap()).unwrap();
        assert_eq!(result, configuration(&[Some(&bundle(&new))]));
        let found = registration(&[Some(&format!("{expired}{foreign}{}", bundle(&new)))]);
        assert_eq!(patch(&found, &new), None, "nothing is written only to take something away");
    }

    #[test]
    fn a_patch_does_not_touch_a_list_that_was_reordered_meanwhile() {
        let (pem, new) = authority();
        let found = registration(&[None, Some(&pem)]);
        let steps = patch(&found, &new).unwrap();
        let mut other = found.object;
        other.webhooks.as_mut().unwrap().reverse();
        assert!(patched(&other, &steps).is_err());
    }

    #[test]
    fn another_order_or_another_spelling_of_the_same_authorities_is_left_alone() {
        let ((one, mut all), (two, second)) = (authority(), authority());
        all.extend(second);
        assert_eq!(patch(&registration(&[Some(&format!("# mine\n{two}\n\n{one}"))]), &all), None);
        assert!(patch(&registration(&[Some(&one)]), &all).is_some(), "one is missing");
        assert!(patch(&registration(&[Some("junk")]), &all).is_some());
    }

    #[test]
    fn an_empty_configuration_needs_nothing() {
        assert_eq!(patch(&registration(&[]), &authority().1), None);
    }

    #[test]
    fn a_webhook_that_calls_another_name_is_named() {
        let now = Timestamp::now();
        let authority = CertificateAuthority::generate(now).unwrap();
        let leaf = authority.issue(now, &[String::from("other.metallb-system.svc")]).unwrap();
        let chain = read_pem(leaf.cert_pem.as_bytes()).unwrap();
        let error = registration(&[Some(&authority.pair().cert_pem)]).accepts(&chain, now).unwrap_err();
        assert!(error.starts_with("webhook hook0.metallb.io of ValidatingWebhookConfiguration c calls"), "{error}");
        assert!(error.contains("metallb-webhook-service.metallb-system.svc"), "{error}");
        assert!(registration(&[None]).accepts(&chain, now).is_err());
        assert!(registration(&[None]).accepts_mounted(&chain, now).is_ok(), "the system's authorities decide");
    }
}
