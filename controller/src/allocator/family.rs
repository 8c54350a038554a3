//! What a Service wants of the two IP families, and what its cluster IPs say about that.
//!
//! ```text
//! cluster IPs        policy              wanted
//! [v4]               any                 one IPv4
//! [v6, v4]           RequireDualStack    IPv4 and IPv6 of one pool
//! [v6, v4]           PreferDualStack     both of one pool, else IPv6 (primary), else IPv4
//! ```

use std::fmt;
use std::net::IpAddr;

use config::Family;

use super::quoted_list;

/// The family or families of a list of addresses. Displayed in MetalLB's words: `ipv4`, `ipv6`, `dual`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stack {
    /// One address of this family.
    Single(Family),
    /// One address of each family.
    Dual,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(Family::V4) => "ipv4",
            Self::Single(Family::V6) => "ipv6",
            Self::Dual => "dual",
        })
    }
}

/// A list of addresses that no Service can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// A text that is no IP address; the whole list is shown.
    #[error("IPFamilyForAddresses: Invalid address {0}")]
    Invalid(String),
    /// Two addresses of one family.
    #[error("IPFamilyForAddresses: same address family {0}")]
    SameFamily(String),
    /// Neither one nor two addresses.
    #[error("IPFamilyForAddresses: invalid ips length {0} {1}")]
    Length(usize, String),
}

impl Stack {
    /// The stack of one or two addresses as they stand in an API object.
    ///
    /// # Errors
    /// A text that is no address (a headless Service's `None` is one), two of one family, none, or more than two.
    pub fn of_texts<T: AsRef<str>>(texts: &[T]) -> Result<Self, StackError> {
        let list = || quoted_list(texts.iter().map(|text| text.as_ref().to_owned()));
        let parsed: Option<Vec<IpAddr>> = texts.iter().map(|text| parse_address(text.as_ref())).collect();
        match parsed.as_deref() {
            Some(addresses) => Self::of(addresses),
            None if texts.len() > 2 => Err(StackError::Length(texts.len(), list())),
            None => Err(StackError::Invalid(list())),
        }
    }

    /// The stack of one or two addresses.
    ///
    /// # Errors
    /// Two addresses of one family, none, or more than two.
    pub fn of(addresses: &[IpAddr]) -> Result<Self, StackError> {
        match addresses {
            [one] => Ok(Self::Single(Family::of(*one))),
            [one, two] if Family::of(*one) != Family::of(*two) => Ok(Self::Dual),
            [_, _] => Err(StackError::SameFamily(quoted_list(addresses))),
            _ => Err(StackError::Length(addresses.len(), quoted_list(addresses))),
        }
    }
}

/// Parses an address as MetalLB does: no zone, no leading zeros, and an IPv4-mapped IPv6 address is the IPv4 address.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The other family.
pub fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

/// `spec.ipFamilyPolicy`; absent means single stack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// One address.
    #[default]
    SingleStack,
    /// Two addresses when there are two, one otherwise.
    PreferDualStack,
    /// Two addresses or none.
    RequireDualStack,
}

/// What to look for in the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Families of the Service, from its cluster IPs.
    pub stack: Stack,
    /// The Service's policy.
    pub policy: Policy,
    /// First of `spec.ipFamilies`: the family a dual-stack Service gets when it can only have one.
    pub primary: Family,
}

impl Wanted {
    /// Whether one address is acceptable although the Service has two families.
    pub fn accepts_one(&self) -> bool {
        self.stack == Stack::Dual && self.policy == Policy::PreferDualStack
    }

    /// What is acceptable instead of both families, best first.
    pub fn singles(&self) -> impl IntoIterator<Item = Stack> + use<> {
        let both = [Stack::Single(self.primary), Stack::Single(other(self.primary))];
        both.into_iter().take(if self.accepts_one() { 2 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_one_address_or_one_of_each_family() {
        let cases: &[(&[&str], Result<Stack, &str>)] = &[
            (&["192.0.2.1"], Ok(Stack::Single(Family::V4))),
            (&["2001:db8::1"], Ok(Stack::Single(Family::V6))),
            (&["::ffff:192.0.2.1"], Ok(Stack::Single(Family::V4))),
            (&["2001:db8::1", "192.0.2.1"], Ok(Stack::Dual)),
            (&["None"], Err("IPFamilyForAddresses: Invalid address [\"None\"]")),
            (&["fe80::1%eth0"], Err("IPFamilyForAddresses: Invalid address [\"fe80::1%eth0\"]")),
            (&["192.0.2.01"], Err("IPFamilyForAddresses: Invalid address [\"192.0.2.01\"]")),
            (
                &["192.0.2.1", "192.0.2.2"],
                Err("IPFamilyForAddresses: same address family [\"192.0.2.1\" \"192.0.2.2\"]"),
            ),
            (&[], Err("IPFamilyForAddresses: invalid ips length 0 []")),
            (
                &["192.0.2.1", "192.0.2.2", "::1"],
                Err("IPFamilyForAddresses: invalid ips length 3 [\"192.0.2.1\" \"192.0.2.2\" \"::1\"]"),
            ),
        ];
        for (texts, expected) in cases {
            let got = Stack::of_texts(texts).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{texts:?}");
        }
    }
}
