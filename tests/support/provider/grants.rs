//! Access tokens that say nothing by themselves: whoever holds one has to ask the provider.

use serde_json::{Value, json};

use super::{GOOGLE_CLIENT, KEYS, MICROSOFT_CLIENT, OKTA_CLIENT, Person, Provider, TENANT};
use crate::support::{Forge, now};

/// What the provider says about an access token, and what it tells its holder.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(super) token: String,
    /// Google's tokeninfo, Okta's introspection, Graph's organization.
    pub(super) info: Value,
    /// Userinfo, or Graph's me.
    pub(super) userinfo: Value,
}

fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    object[name] = value.into();
    object
}

impl Grant {
    fn new(prefix: &str, info: Value, userinfo: Value) -> Self {
        let token = format!("{prefix}{}", uuid::Uuid::now_v7().simple());
        Self { token, info, userinfo }
    }

    pub(crate) fn google(person: &Person) -> Self {
        // Numbers and flags are strings there.
        let mut info = json!({
            "aud": GOOGLE_CLIENT, "azp": GOOGLE_CLIENT, "sub": person.subject, "expires_in": "3300",
            "exp": (now() + 3_300).to_string(), "scope": "openid email profile", "access_type": "online",
        });
        if let Some(email) = &person.email {
            info["email"] = json!(email);
            info["email_verified"] = json!(person.is_verified.to_string());
        }
        Self::new("ya29.", info, person.profile())
    }

    /// Of Okta's org server, by introspection.
    pub(crate) fn okta_org(person: &Person, issuer: &str) -> Self {
        let info = json!({
            "active": true, "client_id": OKTA_CLIENT, "uid": person.subject, "sub": person.email,
            "username": person.email, "iss": issuer, "aud": issuer, "token_type": "Bearer",
            "scope": "openid email profile", "iat": now() - 300, "exp": now() + 3_300,
        });
        Self::new("00org.", info, person.plain_profile())
    }

    /// For Microsoft Graph, in a form that only Graph can verify.
    pub(crate) fn graph(person: &Person) -> Self {
        let claims = json!({
            "aud": "https://graph.microsoft.com", "iss": format!("https://sts.windows.net/{TENANT}/"), "ver": "1.0",
            "tid": TENANT, "oid": person.subject, "appid": MICROSOFT_CLIENT, "scp": "User.Read",
            "iat": now() - 300, "nbf": now() - 300, "exp": now() + 3_300,
        });
        let token = Forge::with(claims).key(&KEYS.forger).kid(KEYS.first.kid).token();
        let me = json!({
            "id": person.subject, "displayName": person.name, "userPrincipalName": person.email, "mail": person.email,
        });
        Self { token, info: json!({"value": [{"id": TENANT, "displayName": "Corp"}]}), userinfo: me }
    }

    /// Bends one field of what is said about the token.
    pub(crate) fn info(self, name: &str, value: impl Into<Value>) -> Self {
        Self { info: with(self.info, name, value), ..self }
    }

    /// Bends one field of what its holder is told.
    pub(crate) fn userinfo(self, name: &str, value: impl Into<Value>) -> Self {
        Self { userinfo: with(self.userinfo, name, value), ..self }
    }

    /// Leaves one field of both out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        for object in [&mut self.info, &mut self.userinfo] {
            object.as_object_mut().expect("an object").remove(name);
        }
        self
    }
}

impl Provider {
    pub(crate) fn google_access_token(&self, person: &Person) -> String {
        self.grants(Grant::google(person))
    }
}
