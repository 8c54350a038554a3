//! Names of members.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a node, which is the name of the member that runs on it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

/// A text that is no name of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node name has 1 to {} bytes, not {length}", NodeName::LONGEST)]
pub struct BadName {
    /// Bytes of the text.
    pub length: usize,
}

impl NodeName {
    /// Bytes of the longest name: Kubernetes names nodes by DNS subdomains (RFC 1123).
    pub const LONGEST: usize = 253;

    /// Fails when the name is empty or longer than [`NodeName::LONGEST`] bytes.
    pub fn new(name: &str) -> Result<Self, BadName> {
        if name.is_empty() || name.len() > Self::LONGEST {
            return Err(BadName { length: name.len() });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_empty_nor_longer_than_kubernetes_allows() {
        assert_eq!(NodeName::new(""), Err(BadName { length: 0 }));
        assert!(NodeName::new(&"n".repeat(253)).is_ok());
        let refused = NodeName::new(&"n".repeat(254)).unwrap_err();
        assert_eq!(refused.to_string(), "a node name has 1 to 253 bytes, not 254");
    }
}
