//! Access tokens made by someone else: what a forger, another deployment or a wrong clock would present.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::provider::Key;

/// The `JWT_SECRET_KEY` of every app under test: long enough for HS512.
pub(crate) const SECRET: &str = "0f6b1c9a-black-box-tests-sign-with-this-key-and-no-other-0f6b1c9a";

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "a forged token's times stand beside the real clock of the process")]
pub(crate) fn now() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_secs()).expect("seconds fit")
}

/// The claims of a token, unverified: the tests look at what a client could read.
pub(crate) fn claims(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token).expect("a JWT").claims
}

/// A forged token: the claims of a good one, to be bent one at a time.
#[derive(Clone)]
pub(crate) struct Forge {
    claims: Value,
    header: Header,
    key: EncodingKey,
}

impl Forge {
    /// Starts from a token that the service issued; unbent, the forgery is as good as it.
    pub(crate) fn from(token: &str) -> Self {
        Self::with(claims(token))
    }

    /// Starts from claims of one's own.
    pub(crate) fn with(claims: Value) -> Self {
        Self { claims, header: Header::new(Algorithm::HS256), key: EncodingKey::from_secret(SECRET.as_bytes()) }
    }

    /// Replaces one claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    /// Leaves one claim out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().expect("claims are an object").remove(name);
        self
    }

    /// Signs with another secret.
    pub(crate) fn signed_with(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.key = EncodingKey::from_secret(secret.as_ref());
        self
    }

    /// Signs with a key pair, by its algorithm and under its name.
    pub(crate) fn key(mut self, key: &Key) -> Self {
        self.header.alg = key.algorithm;
        self.key = key.private.clone();
        self.kid(key.kid)
    }

    /// Names another key than the one that signs.
    pub(crate) fn kid(mut self, kid: &str) -> Self {
        self.header.kid = Some(kid.to_owned());
        self
    }

    /// Signs by another algorithm of the same family, with the same key.
    pub(crate) fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.header.alg = algorithm;
        self
    }

    /// The token.
    pub(crate) fn token(&self) -> String {
        jsonwebtoken::encode(&self.header, &self.claims, &self.key).expect("signs")
    }

    /// The token under a header of one's own and with no signature at all (`alg: none`, RFC 7519 §6).
    pub(crate) fn unsigned(&self, alg: &str) -> String {
        let header = json!({"alg": alg, "typ": "JWT"});
        format!("{}.{}.", base64url(header.to_string().as_bytes()), base64url(self.claims.to_string().as_bytes()))
    }
}

/// Base64url without padding (RFC 7515 §2).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    out
}
