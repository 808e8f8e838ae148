//! What a token says of itself before anything is verified: only to choose by
//! which keys it is verified, and to name a refusal. Whoever acts on it looks
//! again at the verified claims.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::Refusal;

/// Longer tokens are not looked at.
const MAX_BYTES: usize = 16 * 1024;

/// The parts of a signed JWT (RFC 7515 §7.1) that choose its keys.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) header: Header,
    pub(super) claims: Claims,
}

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: Option<String>,
    pub(super) tid: Option<String>,
    aud: Option<serde_json::Value>,
}

impl Claims {
    /// Whether the token says that it is for this audience and no other.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        self.aud.as_ref().and_then(serde_json::Value::as_str) == Some(audience)
    }
}

impl Unverified {
    /// # Errors
    /// It is no JWT.
    pub(super) fn read(token: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, _signature] = parts[..] else { return Err(Refusal::Malformed) };
        Ok(Self { header: part(header)?, claims: part(claims)? })
    }
}

/// Decodes one part of a token.
pub(super) fn part<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)?;
    // A struct would be read from an array, too.
    let value: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|_| Refusal::Malformed)?;
    T::deserialize(serde_json::Value::Object(value)).map_err(|_| Refusal::Malformed)
}

/// Whether it may be sent on in a header: visible ASCII within a bound.
///
/// # Errors
/// Empty, too long, or with another character.
pub(super) fn check_text(token: &str) -> Result<(), Refusal> {
    let is_good = !token.is_empty() && token.len() <= MAX_BYTES && token.bytes().all(|b| b.is_ascii_graphic());
    if is_good { Ok(()) } else { Err(Refusal::Malformed) }
}
