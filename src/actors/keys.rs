//! The keys that sign and verify tokens (RFC 7515, 7517, 7519; the choices of RFC 8725).
//!
//! Access tokens are signed by the configured algorithm, refresh tokens always
//! by HS256 with a key derived from `JWT_SECRET_KEY`: neither passes as the other.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use aws_lc_rs::{digest, hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken as jwt;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use secrecy::{ExposeSecret, SecretString};

use super::{Algorithm, TokenError, TokenSettings};
use crate::domain::{AccessClaims, RefreshClaims, TokenHash};
use crate::proof::WrappingKey;
use crate::verifier::{Verifier, validation, verify_access, verify_refresh};

const PRIVATE: &str = "JWT_PRIVATE_KEY_FILE";
const PREVIOUS: &str = "JWT_PREVIOUS_KEY_FILES";

/// Why the keys can't be used: one variable, and what it should name.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct KeyError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong, and the mend; nothing of the key.
    pub problem: String,
}

/// Signs and verifies.
pub struct Keys {
    issuer: String,
    audience: String,
    access_header: jwt::Header,
    access_signer: jwt::EncodingKey,
    access_verifiers: Vec<Verifier>,
    refresh_signer: jwt::EncodingKey,
    refresh_verifiers: Vec<Verifier>,
    successor_key: hmac::Key,
    flow_key: hmac::Key,
    published: JwkSet,
    fingerprint: [u8; 32],
    previous_fingerprint: Option<[u8; 32]>,
}

/// A public key, named by its thumbprint (RFC 7638).
struct PublicKey {
    key_id: String,
    jwk: Jwk,
    key: jwt::DecodingKey,
}

impl Keys {
    /// Reads the keys.
    ///
    /// # Errors
    /// A PEM text is missing or no key of its algorithm.
    pub fn new(settings: &TokenSettings) -> Result<Self, KeyError> {
        let secrets: Vec<&SecretString> = std::iter::once(&settings.secret).chain(&settings.previous_secret).collect();
        let access = |algorithm| validation(algorithm, &settings.issuer, &settings.audience);
        let mut published = JwkSet { keys: Vec::new() };
        let mut access_verifiers = Vec::new();
        let algorithm = settings.algorithm.jwt();
        let mut access_header = jwt::Header::new(algorithm);
        let access_signer = if settings.algorithm.is_symmetric() {
            for secret in &secrets {
                access_verifiers.push(Verifier {
                    key_id: None,
                    key: jwt::DecodingKey::from_secret(secret.expose_secret().as_bytes()),
                    validation: access(algorithm),
                });
            }
            jwt::EncodingKey::from_secret(settings.secret.expose_secret().as_bytes())
        } else {
            let pem = settings.private_key_pem.as_ref().ok_or_else(|| not_of(settings.algorithm))?;
            let (signer, public) = read_private(settings.algorithm, pem).ok_or_else(|| not_of(settings.algorithm))?;
            access_header.kid = Some(public.key_id.clone());
            published.keys.push(public.jwk.clone());
            access_verifiers.push(public.verifier(access(algorithm)));
            signer
        };
        for (index, pem) in settings.previous_key_pems.iter().enumerate() {
            let (algorithm, public) = read_any(pem).ok_or_else(|| not_previous(index + 1))?;
            // The key that signs may stand in the list too, and is published once.
            if published.find(&public.key_id).is_none() {
                published.keys.push(public.jwk.clone());
                access_verifiers.push(public.verifier(access(algorithm.jwt())));
            }
        }
        let refresh_verifiers = secrets
            .iter()
            .map(|secret| Verifier {
                key_id: None,
                key: jwt::DecodingKey::from_secret(&derive(secret, b"refresh token")),
                validation: validation(jwt::Algorithm::HS256, &settings.issuer, &settings.issuer),
            })
            .collect();
        Ok(Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            access_header,
            access_signer,
            access_verifiers,
            refresh_signer: jwt::EncodingKey::from_secret(&derive(&settings.secret, b"refresh token")),
            refresh_verifiers,
            successor_key: hmac::Key::new(hmac::HMAC_SHA256, &derive(&settings.secret, b"refresh successor")),
            flow_key: hmac::Key::new(hmac::HMAC_SHA256, &derive(&settings.secret, b"sign-in by browser")),
            published,
            fingerprint: derive(&settings.secret, b"fingerprint"),
            previous_fingerprint: settings.previous_secret.as_ref().map(|secret| derive(secret, b"fingerprint")),
        })
    }

    /// The `kid` under which tokens signed by this private key, and its public key, are found.
    ///
    /// # Errors
    /// It is no private key of the algorithm, as [`Keys::new`] would find.
    pub fn key_id(algorithm: Algorithm, pem: &SecretString) -> Result<String, KeyError> {
        read_private(algorithm, pem).map(|(_, public)| public.key_id).ok_or_else(|| not_of(algorithm))
    }

    /// The issuer of our tokens.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audience of our access tokens.
    pub(super) fn audience(&self) -> &str {
        &self.audience
    }

    /// The public keys (RFC 7517 §5); empty for HMAC algorithms.
    pub fn published(&self) -> &JwkSet {
        &self.published
    }

    /// The `kid`s of the public keys: which keys they are, and in which order.
    pub fn published_ids(&self) -> Vec<&str> {
        self.published.keys.iter().filter_map(|key| key.common.key_id.as_deref()).collect()
    }

    /// What the database keeps of `JWT_SECRET_KEY` and `JWT_PREVIOUS_SECRET_KEY`:
    /// derived one-way, so that it tells two keys apart and nothing more.
    pub fn fingerprints(&self) -> ([u8; 32], Option<[u8; 32]>) {
        (self.fingerprint, self.previous_fingerprint)
    }

    /// An access token.
    pub(super) fn sign_access(&self, claims: &AccessClaims) -> Result<String, jwt::errors::Error> {
        jwt::encode(&self.access_header, claims, &self.access_signer)
    }

    /// A refresh token.
    pub(super) fn sign_refresh(&self, claims: &RefreshClaims) -> Result<String, jwt::errors::Error> {
        jwt::encode(&jwt::Header::new(jwt::Algorithm::HS256), claims, &self.refresh_signer)
    }

    /// Signature, algorithm, issuer, audience and type; the times are the caller's to judge.
    pub(super) fn verify_access(&self, token: &str) -> Result<AccessClaims, TokenError> {
        verify_access(token, &self.access_verifiers)
    }

    /// As for access tokens, by the refresh keys.
    pub(super) fn verify_refresh(&self, token: &str) -> Result<RefreshClaims, TokenError> {
        verify_refresh(token, &self.refresh_verifiers)
    }

    /// The id of a refresh token's one successor: computed, not stored, so
    /// that all who race for it compute the same. A UUIDv8 (RFC 9562 §5.8).
    pub(super) fn successor_id(&self, parent: TokenHash) -> uuid::Uuid {
        let tag = hmac::sign(&self.successor_key, &parent.0);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// A secret of one sign-in by a browser, as 43 characters of base64url: computed from its state, not stored,
    /// and the same on every instance.
    pub(super) fn flow_secret(&self, purpose: &[u8], state: &str) -> String {
        let mut context = hmac::Context::with_key(&self.flow_key);
        context.update(purpose);
        context.update(b"\0");
        context.update(state.as_bytes());
        URL_SAFE_NO_PAD.encode(context.sign())
    }
}

impl TokenSettings {
    /// What encrypts the audit key in the database, and what did before a change-over.
    pub fn wrapping_keys(&self) -> (WrappingKey, Option<WrappingKey>) {
        let wrapping = |secret| WrappingKey(derive(secret, b"audit key"));
        (wrapping(&self.secret), self.previous_secret.as_ref().map(wrapping))
    }
}

impl PublicKey {
    /// None where it is weak, or not of that algorithm.
    fn new(algorithm: Algorithm, mut jwk: Jwk) -> Option<Self> {
        let key = jwt::DecodingKey::from_jwk(&jwk).ok()?;
        if !is_sound(algorithm, key.kind()) {
            return None;
        }
        let key_id = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        jwk.common.key_id = Some(key_id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self { key_id, jwk, key })
    }

    fn verifier(self, validation: jwt::Validation) -> Verifier {
        Verifier { key_id: Some(self.key_id), key: self.key, validation }
    }
}

impl Algorithm {
    fn jwt(self) -> jwt::Algorithm {
        match self {
            Self::Hs256 => jwt::Algorithm::HS256,
            Self::Hs384 => jwt::Algorithm::HS384,
            Self::Hs512 => jwt::Algorithm::HS512,
            Self::Rs256 => jwt::Algorithm::RS256,
            Self::Es256 => jwt::Algorithm::ES256,
            Self::EdDsa => jwt::Algorithm::EdDSA,
        }
    }

    /// Whether the one secret signs and verifies.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// The SHA-256 of a refresh token, or of another secret in its place.
pub(super) fn hash_token(token: &str) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    TokenHash(hash)
}

/// Whether two hashes are equal, in constant time.
pub(super) fn is_same(a: TokenHash, b: TokenHash) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(&a.0, &b.0).is_ok()
}

/// A key of its own for each purpose: HKDF-SHA-256 (RFC 5869).
fn derive(secret: &SecretString, purpose: &[u8]) -> [u8; 32] {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis").extract(secret.expose_secret().as_bytes());
    let mut key = [0; 32];
    let info = [purpose];
    let filled = extracted.expand(&info, hkdf::HKDF_SHA256).and_then(|output| output.fill(&mut key));
    debug_assert!(filled.is_ok(), "32 bytes are within what HKDF-SHA-256 gives");
    key
}

fn read_private(algorithm: Algorithm, pem: &SecretString) -> Option<(jwt::EncodingKey, PublicKey)> {
    let pem = pem.expose_secret().as_bytes();
    let key = match algorithm {
        Algorithm::Rs256 => jwt::EncodingKey::from_rsa_pem(pem),
        Algorithm::Es256 => jwt::EncodingKey::from_ec_pem(pem),
        Algorithm::EdDsa => jwt::EncodingKey::from_ed_pem(pem),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
    };
    let key = key.ok()?;
    let jwk = Jwk::from_encoding_key(&key, algorithm.jwt()).ok()?;
    Some((key, PublicKey::new(algorithm, jwk)?))
}

fn read_public(algorithm: Algorithm, pem: &SecretString) -> Option<PublicKey> {
    let pem = pem.expose_secret().as_bytes();
    let key = match algorithm {
        Algorithm::Rs256 => jwt::DecodingKey::from_rsa_pem(pem),
        Algorithm::Es256 => jwt::DecodingKey::from_ec_pem(pem),
        Algorithm::EdDsa => jwt::DecodingKey::from_ed_pem(pem),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
    };
    let jwk = Jwk::from_decoding_key(&key.ok()?, Some(algorithm.jwt())).ok()?;
    PublicKey::new(algorithm, jwk)
}

/// A private or public key of whichever algorithm it is for.
fn read_any(pem: &SecretString) -> Option<(Algorithm, PublicKey)> {
    [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into_iter().find_map(|algorithm| {
        let private = read_private(algorithm, pem).map(|(_, public)| public);
        private.or_else(|| read_public(algorithm, pem)).map(|public| (algorithm, public))
    })
}

/// Whether a signature by it could be verified and would be worth something.
/// jsonwebtoken finds that out late or never: it takes a public key of any RSA
/// length, and any point of 64 bytes for one of P-256.
fn is_sound(algorithm: Algorithm, key: &jwt::DecodingKeyKind) -> bool {
    use jwt::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    match (algorithm, key) {
        (Algorithm::Rs256, RsaModulusExponent { n, .. }) => {
            let leading_zeros = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
            (2048..=8192).contains(&(n.len() * 8 - leading_zeros)) // RFC 7518 §3.3; the library's most
        }
        (Algorithm::Es256, SecretOrDer(point)) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok(),
        (Algorithm::EdDsa, SecretOrDer(point)) => ParsedPublicKey::new(&ED25519, point).is_ok(),
        _ => false,
    }
}

fn not_of(algorithm: Algorithm) -> KeyError {
    let expected = match algorithm {
        Algorithm::Rs256 => "an RSA private key of 2048 to 8192 bits",
        Algorithm::Es256 => "a P-256 private key in PKCS#8",
        Algorithm::EdDsa => "an Ed25519 private key in PKCS#8",
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => "a key of RS256, ES256 or EdDSA",
    };
    let problem = format!("expected {expected}, as PEM without a password: `portcullis keys generate` makes one");
    KeyError { variable: PRIVATE, problem }
}

fn not_previous(place: usize) -> KeyError {
    let expected = "an RSA key of 2048 to 8192 bits, a P-256 or an Ed25519 key, as PEM without a password";
    KeyError { variable: PREVIOUS, problem: format!("file {place} of the list: expected {expected}") }
}
