//! BGP communities: literals and the aliases that Community objects define.
//!
//! ```text
//! 65535:65282  -> Standard      large:1:2:3 -> Large      no-export -> looked up among the aliases
//! ```

use std::collections::BTreeMap;

use api::v1beta1;
use thiserror::Error;

use crate::finding::{Class, Finding, ObjectId};
use crate::model::Community;
use crate::quote::quoted;
use crate::source::Source;

/// Why a text is no community, in MetalLB's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommunityError {
    /// A section is no number or too large.
    #[error("invalid community value: invalid section {} of community {}, err: {}", quoted(.section), quoted(.community), quoted(.reason))]
    Section {
        /// The bad part.
        section: String,
        /// The whole text.
        community: String,
        /// What is wrong with the part.
        reason: String,
    },
    /// Four sections whose first is not `large`.
    #[error("invalid community value: invalid marker for large community, expected community to be of format large:<uint32>:<uint32>:<uint32> but got {} instead", quoted(.0))]
    Marker(String),
    /// Neither two nor four sections; perhaps an alias that nobody has defined yet.
    #[error("invalid community format: {0}")]
    Format(String),
}

/// Parses a literal: `A:B` with 16-bit halves (RFC 1997) or `large:A:B:C` with 32-bit parts (RFC 8092).
///
/// # Errors
/// See [`CommunityError`].
pub fn parse_community(text: &str) -> Result<Community, CommunityError> {
    let sections: Vec<&str> = text.split(':').collect();
    match sections.as_slice() {
        [a, b] => Ok(Community::Standard(half(a, text)?, half(b, text)?)),
        ["large", a, b, c] => Ok(Community::Large(number(a, text)?, number(b, text)?, number(c, text)?)),
        [_, _, _, _] => Err(CommunityError::Marker(text.to_owned())),
        _ => Err(CommunityError::Format(text.to_owned())),
    }
}

fn half(section: &str, community: &str) -> Result<u16, CommunityError> {
    u16::try_from(number(section, community)?).map_err(|_| bad_section(section, community, "value out of range"))
}

fn number(section: &str, community: &str) -> Result<u32, CommunityError> {
    if section.is_empty() || !section.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_section(section, community, "invalid syntax"));
    }
    // Digits only, so the sole way to fail is a number too large.
    section.parse().map_err(|_| bad_section(section, community, "value out of range"))
}

fn bad_section(section: &str, community: &str, reason: &str) -> CommunityError {
    let reason = format!("strconv.ParseUint: parsing {}: {reason}", quoted(section));
    CommunityError::Section { section: section.to_owned(), community: community.to_owned(), reason }
}

/// All valid aliases. Every bad one is reported and left out; of two that share a name the older object's counts.
pub(crate) fn compile(
    sources: &[Source<'_, v1beta1::Community>],
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Community> {
    let mut aliases: BTreeMap<String, Community> = BTreeMap::new();
    let mut owners: BTreeMap<&str, &ObjectId> = BTreeMap::new();
    for source in sources {
        for (index, alias) in source.object.spec.communities.iter().enumerate() {
            if let Some(owner) = owners.get(alias.name.as_str()) {
                let field = format!("spec.communities[{index}].name");
                let text = format!("duplicate definition of community {}", quoted(&alias.name));
                let mut finding = Finding::new(Class::Error, &source.id, field, text);
                if **owner != source.id {
                    finding = finding.with(owner).detail(format!("{owner} defines it already: rename one of the two"));
                }
                findings.push(finding);
                continue;
            }
            match parse_community(&alias.value) {
                Ok(value) => {
                    owners.insert(&alias.name, &source.id);
                    aliases.insert(alias.name.clone(), value);
                }
                Err(error) => {
                    let field = format!("spec.communities[{index}].value");
                    let text = format!("parsing community {}: {error}", quoted(&alias.name));
                    findings.push(Finding::new(Class::Error, &source.id, field, text));
                }
            }
        }
    }
    aliases
}
