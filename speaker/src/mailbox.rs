//! News by subject from one task to another: only the newest about each subject waits.
//!
//! ```text
//!  put(a, 1) put(b, 1) put(a, 2) ──▶ { a: 2, b: 1 } ──drain──▶ reader
//! ```
//! A reader that is slow, because the apiserver is, finds what holds now, not all that ever happened; the memory is bounded by
//! the number of subjects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Both ends; clones share the content. Any number may put, one may read.
#[derive(Debug)]
pub struct Mailbox<K, V> {
    shared: Arc<Shared<K, V>>,
}

#[derive(Debug)]
struct Shared<K, V> {
    waiting: Mutex<BTreeMap<K, V>>,
    news: Notify,
}

impl<K, V> Default for Mailbox<K, V> {
    fn default() -> Self {
        Self { shared: Arc::new(Shared { waiting: Mutex::new(BTreeMap::new()), news: Notify::new() }) }
    }
}

impl<K, V> Clone for Mailbox<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Ord, V> Mailbox<K, V> {
    /// Leaves the newest about a subject.
    pub fn put(&self, subject: K, news: V) {
        self.waiting().insert(subject, news);
        self.shared.news.notify_one();
    }

    /// All there is at the moment.
    pub fn drain(&self) -> BTreeMap<K, V> {
        std::mem::take(&mut *self.waiting())
    }

    /// Returns when something may be there. Safe to drop and call again.
    pub async fn arrival(&self) {
        self.shared.news.notified().await;
    }

    // A panic elsewhere cannot leave a BTreeMap half written: insert and take are the only writes.
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_newest_about_a_subject_waits() {
        let box_ = Mailbox::default();
        let other = box_.clone();
        for (subject, news) in [("a", 1), ("b", 1), ("a", 2)] {
            other.put(subject, news);
        }
        box_.arrival().await;
        assert_eq!(box_.drain(), BTreeMap::from([("a", 2), ("b", 1)]));
        assert!(box_.drain().is_empty());
    }
}
