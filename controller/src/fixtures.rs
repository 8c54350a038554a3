//! Short forms of the things tests are about.

use config::range::parse_entry;
use config::{Pool, PoolEntry};

/// An automatic pool with these entries.
pub fn pool(entries: &[&str]) -> Pool {
    let entries = entries
        .iter()
        .map(|text| PoolEntry { text: (*text).to_owned(), cidrs: parse_entry(text).expect("entry of a test pool") })
        .collect();
    Pool { entries, auto_assign: true, ..Pool::default() }
}
