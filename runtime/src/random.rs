//! Random numbers that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};

/// This many random bytes.
///
/// # Errors
/// The system has none.
pub fn bytes(count: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_the_same() {
        let (one, two) = (bytes(16).unwrap(), bytes(16).unwrap());
        assert_eq!(one.len(), 16);
        assert_ne!(one, two);
    }
}
