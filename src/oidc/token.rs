//! Verifies signed tokens by openidconnect (OpenID Connect Core 1.0 §3.1.3.7).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AdditionalClaims, Audience, ClaimsVerificationError, ClientId, IdToken, IdTokenClaims, IdTokenVerifier, IssuerUrl,
    JsonWebKey, JsonWebTokenType, Nonce, NonceVerifier, SignatureVerificationError,
};
use serde::{Deserialize, Serialize};

use super::documents::Known;
use super::unverified::{self, Unverified};
use crate::domain::{Refusal, Timestamp};

/// How far ahead `iat` and `nbf` may be: clocks differ.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// How long ago an ID token may have been issued.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// What the providers add to the standard claims.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Extra {
    /// Not before (RFC 7519 §4.1.5).
    pub(super) nbf: Option<f64>,
    /// Google: the Workspace domain.
    pub(super) hd: Option<String>,
    /// Microsoft: the tenant.
    pub(super) tid: Option<String>,
    /// Microsoft: the user's id in the tenant.
    pub(super) oid: Option<String>,
    /// Microsoft: the token's version; of Okta a number.
    pub(super) ver: Option<serde_json::Value>,
    /// Microsoft: whether the tenant owns the email's domain.
    pub(super) xms_edov: Option<serde_json::Value>,
    /// Okta: the app that the access token was issued to.
    pub(super) cid: Option<String>,
    /// Okta: the user of an access token.
    pub(super) uid: Option<String>,
    /// Microsoft: how an app proved itself; of a person's ID token there is none.
    pub(super) azpacr: Option<serde_json::Value>,
    /// Microsoft: `app` for an app's own token.
    pub(super) idtyp: Option<String>,
    /// Microsoft, Okta: what an access token allows; an ID token has none.
    pub(super) scp: Option<serde_json::Value>,
}

impl AdditionalClaims for Extra {}

/// The claims of a verified token.
pub(super) type Claims = IdTokenClaims<Extra, CoreGenderClaim>;

type Token = IdToken<Extra, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// By what a token is verified.
pub(super) struct Expected<'a> {
    pub(super) keys: &'a Known,
    /// The issuer, exactly.
    pub(super) issuer: &'a str,
    /// The issuer's other spelling, which counts as the first.
    pub(super) issuer_alias: Option<&'a str>,
    /// Every audience of the token must be one of these.
    pub(super) audiences: &'a [String],
    /// The token's `typ`, where it has one.
    pub(super) types: &'static [&'static str],
}

/// `typ` of ID tokens.
pub(super) const ID_TOKEN: &[&str] = &["JWT"];

/// `typ` of access tokens (RFC 9068 §2.1, and what was before it).
pub(super) const ACCESS_TOKEN: &[&str] = &["JWT", "at+jwt"];

impl Expected<'_> {
    /// The claims of a token with the right signature, algorithm, type, issuer
    /// and audience that is within its time.
    ///
    /// # Errors
    /// The first of these that is wrong.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let unverified = Unverified::read(token)?;
        let algorithm = self.algorithm(&unverified.header.alg)?;
        let respelled = match unverified.claims.iss.as_deref() {
            Some(issuer) if issuer == self.issuer => None,
            Some(issuer) if Some(issuer) == self.issuer_alias => Some(self.respell(token, &unverified, &algorithm)?),
            _ => return Err(Refusal::WrongIssuer),
        };
        let parsed: Token = respelled.as_deref().unwrap_or(token).parse().map_err(|_| Refusal::Malformed)?;
        let mut outcome = Err(Refusal::WrongAudience);
        for audience in self.audiences {
            let verifier = self.verifier(audience, &algorithm, now)?;
            // The one signature that was verified already, over the text before its issuer was respelled.
            let verifier = if respelled.is_some() { verifier.insecure_disable_signature_check() } else { verifier };
            outcome = parsed
                .claims(&verifier, |_: Option<&Nonce>| Ok(()))
                .cloned()
                .map_err(|error| self.refusal(&error, unverified.header.kid.as_deref()));
            if !matches!(outcome, Err(Refusal::WrongAudience)) {
                break;
            }
        }
        let claims = outcome?;
        check_beginning(&claims, now)?;
        Ok(claims)
    }

    fn verifier(
        &self,
        audience: &str,
        algorithm: &CoreJwsSigningAlgorithm,
        now: Timestamp,
    ) -> Result<IdTokenVerifier<'_, CoreJsonWebKey>, Refusal> {
        let issuer = IssuerUrl::new(self.issuer.to_owned()).map_err(|_| Refusal::WrongIssuer)?;
        let keys = self.keys.keys.clone();
        let types = self.types.iter().filter_map(|name| JsonWebTokenType::new((*name).to_owned()).normalize().ok());
        // A time that chrono does not know is the end of all tokens.
        let now = now.to_datetime().unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
        Ok(IdTokenVerifier::new_public_client(ClientId::new(audience.to_owned()), issuer, keys)
            .set_allowed_algs([algorithm.clone()])
            .set_allowed_jose_types(types)
            .set_other_audience_verifier_fn(|other: &Audience| self.audiences.contains(other))
            .set_time_fn(move || now))
    }

    /// RS256 always, as OpenID Connect Discovery 1.0 §3 demands; ES256 where the provider names it.
    fn algorithm(&self, name: &str) -> Result<CoreJwsSigningAlgorithm, Refusal> {
        match name {
            "RS256" => Ok(CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256),
            "ES256" if self.keys.signs_by(&CoreJwsSigningAlgorithm::EcdsaP256Sha256) => {
                Ok(CoreJwsSigningAlgorithm::EcdsaP256Sha256)
            }
            _ => Err(Refusal::UnsupportedAlgorithm),
        }
    }

    /// The same token with the issuer's first spelling, once the signature over
    /// its own is verified: openidconnect reads no issuer that is not a URL.
    fn respell(
        &self,
        token: &str,
        unverified: &Unverified,
        algorithm: &CoreJwsSigningAlgorithm,
    ) -> Result<String, Refusal> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let signature_bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Malformed)?;
        let key = self.keys.key(unverified.header.kid.as_deref()).ok_or(Refusal::UnknownKey)?;
        key.verify_signature(algorithm, signed.as_bytes(), &signature_bytes)
            .map_err(|error| self.signature_refusal(&error, unverified.header.kid.as_deref()))?;
        let mut claims: serde_json::Map<String, serde_json::Value> = unverified::part(claims)?;
        claims.insert("iss".to_owned(), self.issuer.into());
        let claims = serde_json::to_vec(&claims).map_err(|_| Refusal::Malformed)?;
        Ok(format!("{header}.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims)))
    }

    fn refusal(&self, error: &ClaimsVerificationError, key_id: Option<&str>) -> Refusal {
        match error {
            ClaimsVerificationError::Expired(_) => Refusal::Expired,
            ClaimsVerificationError::InvalidAudience(_) => Refusal::WrongAudience,
            ClaimsVerificationError::InvalidIssuer(_) => Refusal::WrongIssuer,
            ClaimsVerificationError::InvalidSubject(_) => Refusal::WrongSubject,
            ClaimsVerificationError::SignatureVerification(error) => self.signature_refusal(error, key_id),
            ClaimsVerificationError::Unsupported(_) => Refusal::WrongTokenType,
            _ => Refusal::Malformed,
        }
    }

    fn signature_refusal(&self, error: &SignatureVerificationError, key_id: Option<&str>) -> Refusal {
        match error {
            SignatureVerificationError::NoMatchingKey if self.keys.key(key_id).is_some() => Refusal::WrongKeyType,
            SignatureVerificationError::NoMatchingKey | SignatureVerificationError::AmbiguousKeyId(_) => {
                Refusal::UnknownKey
            }
            SignatureVerificationError::InvalidKey(_) => Refusal::WrongKeyType,
            SignatureVerificationError::DisallowedAlg(_)
            | SignatureVerificationError::UnsupportedAlg(_)
            | SignatureVerificationError::NoSignature => Refusal::UnsupportedAlgorithm,
            _ => Refusal::BadSignature,
        }
    }
}

fn check_beginning(claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    let latest = now.plus(CLOCK_SKEW);
    let nbf = claims.additional_claims().nbf;
    #[expect(clippy::cast_precision_loss, reason = "seconds of this age are exact in a double")]
    let is_early = nbf.is_some_and(|nbf| nbf > latest.as_secs() as f64);
    if Timestamp::from(claims.issue_time()) > latest || is_early {
        return Err(Refusal::NotYetValid);
    }
    Ok(())
}

/// What only an ID token must be: fresh, and of the request's own nonce where either has one.
///
/// # Errors
/// It is an access token, too old, or has another nonce.
pub(super) fn check_id_token(claims: &Claims, nonce: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
    let extra = claims.additional_claims();
    let is_apps = extra.azpacr.is_some() || extra.idtyp.as_deref() == Some("app");
    if is_apps || extra.scp.is_some() || extra.cid.is_some() {
        return Err(Refusal::WrongTokenType);
    }
    if now.since(claims.issue_time().into()) > MAX_AGE {
        return Err(Refusal::TooOld);
    }
    match (nonce, claims.nonce()) {
        (None, None) => Ok(()),
        (Some(sent), Some(named)) => {
            (&Nonce::new(sent.to_owned())).verify(Some(named)).map_err(|_| Refusal::NonceMismatch)
        }
        _ => Err(Refusal::NonceMissing),
    }
}

/// The authorized party, where the token names one, must be one of our apps.
///
/// # Errors
/// It is another one.
pub(super) fn check_authorized_party(claims: &Claims, client_ids: &[String]) -> Result<(), Refusal> {
    match claims.authorized_party() {
        Some(party) if !client_ids.contains(party) => Err(Refusal::WrongAuthorizedParty),
        _ => Ok(()),
    }
}
