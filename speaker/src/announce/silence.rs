//! Why no node announces a Service, in words that name what to mend.
//!
//! ```text
//! l2::silence --> Silence { reason: one word for the metric,  Display: one sentence for event and log }
//! ```
//! Two Services with the same reason differ in the sentence only. It is the same on every node that looks.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use api::names;

use crate::members::Bar;

/// Names listed before "and N more".
const LISTED: usize = 5;

/// Why no node announces a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// An entry of its status holds no IP address.
    InvalidIp,
    /// No single pool holds its addresses.
    NoPool(Vec<IpAddr>),
    /// No L2Advertisement selects this pool.
    NoAdvertisement(String),
    /// None of the pool's L2Advertisements, these, selects the Service.
    NotSelected(BTreeSet<String>),
    /// It shares its address, and one of these L2Advertisements picks Services by label.
    SharedIpWithServiceSelector(BTreeSet<String>),
    /// These L2Advertisements select no node of the cluster.
    NoNode(BTreeSet<String>),
    /// No endpoint can serve.
    NoEndpoint,
    /// External traffic policy Local, and endpoints that can serve are only on these nodes, which may not announce it.
    NoLocalEndpoint(BTreeSet<String>),
    /// None of the nodes it could be announced from may announce at all.
    AllBarred(Vec<(Bar, BTreeSet<String>)>),
    /// No speaker is alive on these nodes, the only ones that may announce it.
    NoneUp(BTreeSet<String>),
    /// This node answers for its address, for another Service, and cannot serve this one.
    Sharing(String),
    /// This node is to announce it and has none of the interfaces that are named for it.
    NoInterface(String),
}

impl Silence {
    /// One word, for the label of the metric and for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidIp => "invalidIP",
            Self::NoPool(_) => "ipNotAllowed",
            Self::NoAdvertisement(_) => "noAdvertisement",
            Self::NotSelected(_) => "noAdvertisementForService",
            Self::SharedIpWithServiceSelector(_) => "sharedIPWithServiceSelector",
            Self::NoNode(_) => "noAdvertisementForNodes",
            Self::NoEndpoint => "noEndpoint",
            Self::NoLocalEndpoint(_) => "noLocalEndpoint",
            Self::AllBarred(bars) => match bars.as_slice() {
                [(Bar::Excluded, _)] => "nodesExcluded",
                [(Bar::NetworkUnavailable, _)] => "networkUnavailable",
                [(Bar::NoSpeaker, _)] => "noSpeaker",
                _ => "noNodeAllowed",
            },
            Self::NoneUp(_) => "noSpeakerUp",
            Self::Sharing(_) => "sharedElsewhere",
            Self::NoInterface(_) => "noInterface",
        }
    }

    /// Whether it is certain that no node answers: with a speaker that is only believed to be dead it is not.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::NoneUp(_) | Self::NoInterface(_))
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidIp => f.write_str("an entry of its status holds no IP address"),
            Self::NoPool(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                write!(f, "no single pool holds its addresses {}", addresses.join(", "))
            }
            Self::NoAdvertisement(pool) => {
                write!(
                    f,
                    "no L2Advertisement selects the pool {pool:?} of its addresses; create one, or name the pool in one"
                )
            }
            Self::NotSelected(ads) => {
                write!(f, "of the L2Advertisements of its pool ({}) none selects this Service by its labels", List(ads))
            }
            Self::SharedIpWithServiceSelector(ads) => write!(
                f,
                "allow-shared-ip is incompatible with serviceSelectors on L2 advertisements; they are in {}",
                List(ads)
            ),
            Self::NoNode(ads) => write!(f, "the node selectors of the L2Advertisements {} select no node", List(ads)),
            Self::NoEndpoint => f.write_str("none of its endpoints can serve"),
            Self::NoLocalEndpoint(nodes) if nodes.is_empty() => {
                f.write_str("external traffic policy is Local and none of its endpoints is on a node")
            }
            Self::NoLocalEndpoint(nodes) => write!(
                f,
                "external traffic policy is Local and its endpoints are on nodes that no L2Advertisement selects: {}",
                List(nodes)
            ),
            Self::AllBarred(bars) => {
                f.write_str("no node that it could be announced from may announce: ")?;
                for (index, (bar, nodes)) in bars.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", List(nodes), Cause(*bar))?;
                }
                Ok(())
            }
            Self::NoneUp(nodes) => write!(f, "no speaker is up on the nodes that may announce it: {}", List(nodes)),
            Self::Sharing(node) => write!(
                f,
                "its address is announced from node {node:?} for another Service, and this one cannot be served there"
            ),
            Self::NoInterface(node) => {
                write!(
                    f,
                    "node {node:?} should announce it and has none of the interfaces that its L2Advertisements name"
                )
            }
        }
    }
}

/// Why a node may not announce, in words.
struct Cause(Bar);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Bar::Excluded => write!(f, "excluded by the label {}", names::LABEL_EXCLUDE_BALANCERS),
            Bar::NetworkUnavailable => f.write_str("NetworkUnavailable"),
            Bar::NoSpeaker => f.write_str("no speaker runs there"),
        }
    }
}

/// The first few names; a cluster of a thousand nodes must not fill an event.
struct List<'a>(&'a BTreeSet<String>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().take(LISTED).map(String::as_str).collect();
        f.write_str(&names.join(", "))?;
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn long_lists_are_cut() {
        let many: BTreeSet<String> = (1..=9).map(|number| format!("node{number}")).collect();
        let text = Silence::NoneUp(many).to_string();
        assert!(text.ends_with("node1, node2, node3, node4, node5 and 4 more"), "{text}");
    }

    #[test]
    fn nodes_that_may_not_announce_stand_with_their_causes() {
        let bars = vec![(Bar::Excluded, set(&["a", "b"])), (Bar::NetworkUnavailable, set(&["c"]))];
        let mixed = Silence::AllBarred(bars);
        assert_eq!(
            mixed.to_string(),
            "no node that it could be announced from may announce: a, b: excluded by the label \
             node.kubernetes.io/exclude-from-external-load-balancers; c: NetworkUnavailable"
        );
        assert_eq!(mixed.reason(), "noNodeAllowed");
        assert_eq!(Silence::AllBarred(vec![(Bar::Excluded, set(&["a"]))]).reason(), "nodesExcluded");
    }
}
