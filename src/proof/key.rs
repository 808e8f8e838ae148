//! The installation's audit key, and how the database keeps it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::{hkdf, hmac};

use super::Sealer;

/// What the encrypted key says that it is.
const PURPOSE: &[u8] = b"portcullis audit key 1";

/// Random bytes from which the keys of seals, chain and checkpoints are derived. Made once.
pub struct AuditKey([u8; 32]);

/// Derived from `JWT_SECRET_KEY`: what encrypts the audit key (AES-256-GCM).
pub struct WrappingKey(pub [u8; 32]);

impl AuditKey {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, Unspecified> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key, encrypted: nonce, ciphertext, tag.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn wrap(&self, key: &WrappingKey) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = self.0.to_vec();
        let nonce =
            RandomizedNonceKey::new(&AES_256_GCM, &key.0)?.seal_in_place_append_tag(Aad::from(PURPOSE), &mut sealed)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The key back; `None` where another key encrypted it, or somebody has changed it.
    pub fn unwrap(wrapped: &[u8], key: &WrappingKey) -> Option<Self> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = RandomizedNonceKey::new(&AES_256_GCM, &key.0)
            .and_then(|key| key.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).map(|opened| opened.to_vec()));
        Some(Self(opened.ok()?.try_into().ok()?))
    }

    /// What seals, links and signs with it.
    ///
    /// # Errors
    /// Never, but that the library says so.
    pub fn sealer(&self) -> Result<Sealer, Unspecified> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis audit").extract(&self.0);
        let derive = |purpose: &[u8]| -> Result<[u8; 32], Unspecified> {
            let mut key = [0; 32];
            extracted.expand(&[purpose], hkdf::HKDF_SHA256)?.fill(&mut key)?;
            Ok(key)
        };
        let signer = Ed25519KeyPair::from_seed_unchecked(&derive(b"checkpoints")?).map_err(|_| Unspecified)?;
        Ok(Sealer::new(
            hmac::Key::new(hmac::HMAC_SHA256, &derive(b"seals")?),
            hmac::Key::new(hmac::HMAC_SHA256, &derive(b"chain")?),
            signer,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_by_its_wrapping_key_alone() {
        let (right, wrong) = (WrappingKey([1; 32]), WrappingKey([2; 32]));
        let key = AuditKey::generate().unwrap();
        let mut wrapped = key.wrap(&right).unwrap();
        assert!(!wrapped.windows(8).any(|window| key.0.windows(8).any(|secret| secret == window)));
        assert_eq!(AuditKey::unwrap(&wrapped, &right).unwrap().0, key.0);
        assert!(AuditKey::unwrap(&wrapped, &wrong).is_none());
        *wrapped.last_mut().unwrap() ^= 1;
        assert!(AuditKey::unwrap(&wrapped, &right).is_none());
        assert!(AuditKey::unwrap(b"short", &right).is_none());
    }
}
