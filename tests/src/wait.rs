//! Waiting for conditions, with a deadline and a reason.
//!
//! Conditions on API objects are watched; conditions on the network or on files are looked at again and again. A wait that
//! fails says what it waited for, how long, and what was wrong the last time it looked.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, pin_mut};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

/// Time between two looks at something that cannot be watched.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks at something until it is there. The probe's error is the reason it is not yet.
pub async fn until<T, F, P>(what: &str, patience: Duration, mut probe: P) -> Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + patience;
    let mut reason = anyhow!("the first look did not end in time");
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => reason = error,
            Err(_) => return Err(gave_up(what, patience, &reason)),
        }
        if Instant::now() + INTERVAL > deadline {
            return Err(gave_up(what, patience, &reason));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Watches the objects of one kind until `condition` holds for all of them together; it gets them by name (with
/// `namespace/` in front if they have one). Its error is the reason they do not fit yet.
pub async fn objects<K, T>(
    api: Api<K>,
    config: watch::Config,
    what: &str,
    patience: Duration,
    mut condition: impl FnMut(&BTreeMap<String, K>) -> Result<T>,
) -> Result<T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let deadline = Instant::now() + patience;
    let mut reason = anyhow!("the API server did not answer");
    let events = watcher::watcher(api, config).default_backoff();
    pin_mut!(events);
    let mut known: BTreeMap<String, K> = BTreeMap::new();
    let mut listed: BTreeMap<String, K> = BTreeMap::new();
    let mut synced = false;
    loop {
        let event = match timeout_at(deadline, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => {
                reason = anyhow::Error::new(error).context("watch");
                continue;
            }
            Ok(None) => return Err(gave_up(what, patience, &anyhow!("the watch ended"))),
            Err(_) => return Err(gave_up(what, patience, &reason)),
        };
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object), object);
            }
            Event::InitDone => {
                known = std::mem::take(&mut listed);
                synced = true;
            }
            Event::Apply(object) => {
                known.insert(key(&object), object);
            }
            Event::Delete(object) => {
                known.remove(&key(&object));
            }
        }
        if synced {
            match condition(&known) {
                Ok(value) => return Ok(value),
                Err(error) => reason = error,
            }
        }
    }
}

/// Watches one object until `condition` holds; it gets `None` while the object is not there.
pub async fn object<K, T>(
    api: Api<K>,
    name: &str,
    what: &str,
    patience: Duration,
    mut condition: impl FnMut(Option<&K>) -> Result<T>,
) -> Result<T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watch::Config::default().fields(&format!("metadata.name={name}"));
    objects(api, config, what, patience, |objects| condition(objects.values().next())).await
}

/// For conditions on an object that must be there.
pub fn present<K: Resource>(object: Option<&K>) -> Result<&K> {
    object.context("it does not exist")
}

fn key<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

fn gave_up(what: &str, patience: Duration, reason: &anyhow::Error) -> anyhow::Error {
    anyhow!("waited {:.0} s for {what}: {reason:#}", patience.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_fails_names_what_and_why() {
        let error = until("the door", Duration::from_secs(5), || async { Err::<(), _>(anyhow!("still shut")) });
        assert_eq!(error.await.unwrap_err().to_string(), "waited 5 s for the door: still shut");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_does_not_stop_the_deadline() {
        let error = until("the door", Duration::from_secs(2), std::future::pending::<Result<()>>).await.unwrap_err();
        assert_eq!(error.to_string(), "waited 2 s for the door: the first look did not end in time");
    }
}
