//! Sealing of datagrams: AES-256-GCM with a key derived from the bytes of the Secret.
//!
//! ```text
//!  0         1            13                        n-16       n
//!  ┌─────────┬────────────┬──────────────────────────┬─────────┐
//!  │ version │   nonce    │ ciphertext               │   tag   │     n ≤ 1400
//!  └─────────┴────────────┴──────────────────────────┴─────────┘
//!   also authenticated: version ‖ "metallb-rs membership"
//! ```
//! Everything a stranger could want to know or change is inside: names, boot numbers, counters. A datagram that does not open
//! is dropped without an answer.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

/// Bytes of the longest datagram that is sent or taken: fits one frame of an Ethernet with room for a tunnel, and is never
/// fragmented there.
pub const LONGEST: usize = 1400;
/// Bytes that sealing adds.
pub const OVERHEAD: usize = 1 + NONCE_LEN + 16;
/// Bytes of the longest message that can be sealed.
pub const ROOM: usize = LONGEST - OVERHEAD;

const VERSION: u8 = 1;
const ASSOCIATED: &[u8] = b"\x01metallb-rs membership";
const INFO: &[u8] = b"metallb-rs membership 1 aes-256-gcm";

/// The key of a cluster.
#[derive(Debug)]
pub struct Seal {
    key: LessSafeKey,
}

/// A Secret that gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Without a Secret anybody could speak for a member.
    #[error("the membership secret is empty")]
    Empty,
    /// The library refused to derive or take the key.
    #[error("no key can be derived from the membership secret")]
    Underivable,
}

/// Why a datagram does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Shorter than an empty message.
    #[error("shorter than an empty sealed message")]
    TooShort,
    /// Longer than [`LONGEST`].
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// Of another version of this protocol, or of another protocol.
    #[error("of an unknown version")]
    Version,
    /// Damaged, or sealed by somebody who has another key.
    #[error("not sealed with our key, or damaged")]
    Forged,
}

/// A message too long to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes does not fit a datagram")]
pub struct TooLong {
    /// Bytes of the message.
    pub length: usize,
}

impl Seal {
    /// Derives the key from the bytes of the Secret by HKDF-SHA256 (RFC 5869). Any length but 0 will do: the Secret that the
    /// controller makes has 22 characters.
    pub fn new(secret: &[u8]) -> Result<Self, BadSecret> {
        if secret.is_empty() {
            return Err(BadSecret::Empty);
        }
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let expanded = extracted.expand(&[INFO], &AES_256_GCM).map_err(|_| BadSecret::Underivable)?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(expanded)) })
    }

    /// Seals `message` under a `nonce`, which must be random: two messages sealed under one nonce give both away.
    /// Fails when the message has more than [`ROOM`] bytes.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], message: &[u8]) -> Result<Vec<u8>, TooLong> {
        let too_long = TooLong { length: message.len() };
        if message.len() > ROOM {
            return Err(too_long);
        }
        let mut datagram = Vec::with_capacity(message.len() + OVERHEAD);
        datagram.push(VERSION);
        datagram.extend_from_slice(&nonce);
        datagram.extend_from_slice(message);
        let (_, body) = datagram.split_at_mut(1 + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(ASSOCIATED), body).map_err(|_| too_long)?;
        datagram.extend_from_slice(tag.as_ref());
        Ok(datagram)
    }

    /// Opens a datagram in place and answers with the message in it. `datagram` is garbled when that fails.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<&'a [u8], NotOpened> {
        if datagram.len() > LONGEST {
            return Err(NotOpened::TooLong);
        }
        if datagram.len() < OVERHEAD {
            return Err(NotOpened::TooShort);
        }
        let (head, body) = datagram.split_at_mut(1 + NONCE_LEN);
        if head[0] != VERSION {
            return Err(NotOpened::Version);
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).map_err(|_| NotOpened::TooShort)?;
        let message = self.key.open_in_place(nonce, Aad::from(ASSOCIATED), body).map_err(|_| NotOpened::Forged)?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_secret_is_an_error_and_any_other_length_gives_a_key() {
        assert_eq!(Seal::new(b"").unwrap_err(), BadSecret::Empty);
        for length in [1, 22, 32, 33, 5000] {
            let seal = Seal::new(&vec![7; length]).unwrap();
            let mut datagram = seal.seal([1; 12], b"hello").unwrap();
            assert_eq!(seal.open(&mut datagram), Ok(&b"hello"[..]));
        }
    }

    #[test]
    fn a_message_that_does_not_fit_a_datagram_is_refused() {
        let seal = Seal::new(b"secret").unwrap();
        assert_eq!(seal.seal([0; 12], &[0; ROOM]).unwrap().len(), LONGEST);
        assert_eq!(seal.seal([0; 12], &[0; ROOM + 1]), Err(TooLong { length: ROOM + 1 }));
    }

    #[test]
    fn datagrams_of_impossible_lengths_and_versions_are_dropped_unopened() {
        let seal = Seal::new(b"secret").unwrap();
        assert_eq!(seal.open(&mut []), Err(NotOpened::TooShort));
        assert_eq!(seal.open(&mut [VERSION; OVERHEAD - 1]), Err(NotOpened::TooShort));
        assert_eq!(seal.open(&mut [VERSION; LONGEST + 1]), Err(NotOpened::TooLong));
        assert_eq!(seal.open(&mut [2; 100]), Err(NotOpened::Version));
        assert_eq!(seal.open(&mut [VERSION; OVERHEAD]), Err(NotOpened::Forged));
    }

    #[test]
    fn another_secret_opens_nothing() {
        let mut datagram = Seal::new(b"one").unwrap().seal([0; 12], b"hello").unwrap();
        assert_eq!(Seal::new(b"two").unwrap().open(&mut datagram), Err(NotOpened::Forged));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_or_one_missing_byte_spoils_a_datagram(
            message in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let seal = Seal::new(b"secret").unwrap();
            let datagram = seal.seal([3; 12], &message).unwrap();
            let at = at.index(datagram.len());
            let mut flipped = datagram.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(seal.open(&mut flipped).is_err());
            let mut truncated = datagram[..at].to_vec();
            prop_assert!(seal.open(&mut truncated).is_err());
            let mut whole = datagram;
            prop_assert_eq!(seal.open(&mut whole), Ok(&message[..]));
        }
    }
}
