//! Who signs in, and the tokens that each dialect gives them: good ones, to be bent one claim at a time.

use serde_json::{Value, json};

use super::{GOOGLE_CLIENT, MICROSOFT_CLIENT, OKTA_CLIENT, OKTA_DOMAIN, Provider, TENANT};
use crate::support::{Forge, now};

/// Google's `sub`, Microsoft's `oid` and Okta's `uid` in one, with what a profile says.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) is_verified: bool,
    pub(crate) name: String,
    /// Google's `hd`.
    pub(crate) hosted_domain: Option<String>,
}

impl Person {
    /// Somebody new, with a verified address at `corp.example`.
    pub(crate) fn named(name: &str) -> Self {
        Self::with_email(&format!("{name}@corp.example"))
    }

    pub(crate) fn with_email(email: &str) -> Self {
        Self {
            subject: uuid::Uuid::now_v7().to_string(),
            email: Some(email.to_owned()),
            is_verified: true,
            name: "Jane Doe".to_owned(),
            hosted_domain: Some("corp.example".to_owned()),
        }
    }

    pub(crate) fn without_email() -> Self {
        Self { email: None, ..Self::named("nobody") }
    }

    pub(crate) fn unverified(self) -> Self {
        Self { is_verified: false, ..self }
    }

    /// The claims of a profile as OpenID Connect Core 1.0 §5.1 names them; what is not known is left out.
    pub(super) fn profile(&self) -> Value {
        let mut profile = json!({"sub": self.subject, "name": self.name});
        if let Some(email) = &self.email {
            profile["email"] = json!(email);
            profile["email_verified"] = json!(self.is_verified);
        }
        if let Some(domain) = &self.hosted_domain {
            profile["hd"] = json!(domain);
        }
        profile
    }

    /// A profile without Google's own claim.
    pub(super) fn plain_profile(&self) -> Value {
        Self { hosted_domain: None, ..self.clone() }.profile()
    }
}

/// Claims of a token of five minutes ago that lives for 55 more.
fn dated(mut claims: Value, issuer: &str, audience: &str) -> Value {
    let now = now();
    for (name, value) in [("iat", now - 300), ("exp", now + 3_300)] {
        claims[name] = json!(value);
    }
    claims["iss"] = json!(issuer);
    claims["aud"] = json!(audience);
    // Two tokens of one second are still two.
    claims["jti"] = json!(uuid::Uuid::now_v7().to_string());
    claims
}

pub(super) fn google_claims(base: &str, person: &Person) -> Value {
    let mut claims = dated(person.profile(), &format!("{base}/google"), GOOGLE_CLIENT);
    claims["azp"] = json!(GOOGLE_CLIENT);
    claims
}

pub(super) fn microsoft_claims(base: &str, person: &Person) -> Value {
    // Microsoft's `sub` is another one for every app.
    let mut claims = json!({
        "oid": person.subject, "tid": TENANT, "sub": format!("pairwise-{}", person.subject),
        "name": person.name, "ver": "2.0", "nbf": now() - 300,
    });
    if let Some(email) = &person.email {
        claims["email"] = json!(email);
        claims["preferred_username"] = json!(email);
        if person.is_verified {
            claims["xms_edov"] = json!(true);
        }
    }
    dated(claims, &format!("{base}/microsoft/{TENANT}/v2.0"), MICROSOFT_CLIENT)
}

pub(super) fn okta_claims(issuer: &str, person: &Person) -> Value {
    let mut claims = dated(person.plain_profile(), issuer, OKTA_CLIENT);
    claims["ver"] = json!(1);
    claims
}

impl Provider {
    fn signed(&self, claims: Value) -> Forge {
        Forge::with(claims).key(self.state().signing)
    }

    pub(crate) fn google_id_token(&self, person: &Person) -> Forge {
        self.signed(google_claims(&self.base, person))
    }

    pub(crate) fn microsoft_id_token(&self, person: &Person) -> Forge {
        self.signed(microsoft_claims(&self.base, person))
    }

    /// For the API of the app itself.
    pub(crate) fn microsoft_access_token(&self, person: &Person) -> Forge {
        self.microsoft_id_token(person).claim("azp", MICROSOFT_CLIENT).claim("scp", "access_as_user")
    }

    pub(crate) fn okta_id_token(&self, person: &Person) -> Forge {
        self.signed(okta_claims(&self.okta(OKTA_DOMAIN), person))
    }

    /// An ID token of this person by each of the three.
    pub(crate) fn id_tokens(&self, person: &Person) -> [(&'static str, Forge); 3] {
        [
            ("google", self.google_id_token(person)),
            ("microsoft", self.microsoft_id_token(person)),
            ("okta", self.okta_id_token(person)),
        ]
    }

    /// Of the default custom server, whose `sub` is the login and may change.
    pub(crate) fn okta_access_token(&self, person: &Person) -> Forge {
        self.tells_of(&person.subject, person.plain_profile());
        let login = person.email.clone().unwrap_or_else(|| "login".to_owned());
        let claims = json!({
            "ver": 1, "uid": person.subject, "cid": OKTA_CLIENT, "sub": login, "scp": ["openid", "email", "profile"],
        });
        self.signed(dated(claims, &self.okta(OKTA_DOMAIN), "api://default"))
    }
}
