//! The Secret with the key that the speakers seal their talk with.
//!
//! ```text
//!  term begins ──▶ is there a Secret? ──no──▶ create it: 128 random bytes, owned by the controller's Deployment
//! ```
//! Speakers do not start without it, ours and MetalLB's alike, and both read the same entry, so a cluster can change between
//! the two. One that exists is never changed, and the key is never logged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::{Api, Client};
use runtime::client::{explain, http_code, was_fenced};
use runtime::repeats::Repeats;

/// Key of the Secret's data.
const KEY: &str = "secretkey";
/// Random bytes behind the key.
const LENGTH: usize = 128;
/// First pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Which Secret, and who owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of both.
    pub namespace: String,
    /// The Secret; empty means that none is made.
    pub secret: String,
    /// The Deployment whose end is the Secret's end; empty means none.
    pub deployment: String,
}

/// Makes the Secret if it is not there; repeats until the apiserver answered.
pub async fn ensure(client: Client, settings: Settings) {
    if settings.secret.is_empty() {
        return;
    }
    let mut repeats = Repeats::default();
    let mut pause = PAUSE;
    loop {
        match make(&client, &settings).await {
            Ok(true) => {
                tracing::info!(event = "memberlistSecret", secret = settings.secret, "made the speakers' key");
                return;
            }
            Ok(false) => return,
            Err(error) if was_fenced(&error) => return,
            Err(error) => {
                let Settings { namespace, secret, .. } = &settings;
                let text = format!("cannot make the Secret {namespace}/{secret}: {}; trying again", explain(&error));
                if repeats.failed(&text, Instant::now()) {
                    tracing::error!(event = "memberlistSecret", "{text}");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Returns whether it was made now.
async fn make(client: &Client, settings: &Settings) -> Result<bool, kube::Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    if secrets.get_metadata_opt(&settings.secret).await?.is_some() {
        return Ok(false);
    }
    let owner = if settings.deployment.is_empty() {
        None
    } else {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &settings.namespace);
        deployments.get_opt(&settings.deployment).await?.and_then(|deployment| deployment.metadata.uid)
    };
    let Some(secret) = secret(settings, owner) else { return Ok(false) };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(true),
        Err(error) if http_code(&error) == Some(409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The Secret with a new key; `None` when the system has no random numbers.
fn secret(settings: &Settings, owner: Option<String>) -> Option<Secret> {
    let random = match runtime::random::bytes(LENGTH) {
        Ok(random) => random,
        Err(error) => {
            tracing::error!(event = "memberlistSecret", "cannot make the speakers' key: {error}");
            return None;
        }
    };
    // The key is text: the base64 of the bytes. That a Secret encodes its data once more is another matter.
    let text = serde_json::to_value(ByteString(random)).ok()?.as_str()?.to_owned();
    let owner = owner.map(|uid| OwnerReference {
        api_version: String::from("apps/v1"),
        kind: String::from("Deployment"),
        name: settings.deployment.clone(),
        uid,
        ..OwnerReference::default()
    });
    Some(Secret {
        metadata: ObjectMeta {
            name: Some(settings.secret.clone()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(String::from("Opaque")),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(text.into_bytes()))])),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { namespace: "n".into(), secret: "memberlist".into(), deployment: "controller".into() }
    }

    #[test]
    fn the_key_is_the_base64_text_of_128_random_bytes() {
        let made = secret(&settings(), Some("uid".into())).unwrap();
        let text = String::from_utf8(made.data.as_ref().unwrap()[KEY].0.clone()).unwrap();
        let ByteString(bytes) = serde_json::from_value(serde_json::Value::from(text.as_str())).unwrap();
        assert_eq!(bytes.len(), 128);
        let other = secret(&settings(), None).unwrap();
        assert_ne!(made.data, other.data, "no two keys are the same");
        assert_eq!(made.type_.as_deref(), Some("Opaque"));
    }

    #[test]
    fn the_secret_ends_with_the_deployment_if_there_is_one() {
        let owners = secret(&settings(), Some("uid".into())).unwrap().metadata.owner_references.unwrap();
        let owner = &owners[0];
        assert_eq!(
            (owner.api_version.as_str(), owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
            ("apps/v1", "Deployment", "controller", "uid")
        );
        assert_eq!(secret(&settings(), None).unwrap().metadata.owner_references, None);
    }
}
