//! Microsoft: every tenant is an issuer of its own, and a user is known by tenant
//! and object id, never by an email, which any tenant can claim.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::accounts::Profile;
use super::desk::Desk;
use super::documents::{Known, Need, Undiscovered};
use super::error::OidcError;
use super::http::Caller;
use super::settings::{MicrosoftSettings, Tenants};
use super::token::{self, ACCESS_TOKEN, Claims, Expected, ID_TOKEN};
use super::unverified::Unverified;
use crate::domain::{Provider, ProviderIdentity, Refusal};

/// What Graph's own tokens are for.
const GRAPH_AUDIENCES: [&str; 3] =
    ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"];

/// Microsoft's rules.
#[derive(Clone, Copy)]
pub(super) struct Microsoft<'a> {
    pub(super) desk: &'a Desk,
    pub(super) settings: &'a MicrosoftSettings,
}

/// What Graph says of the token's user.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    id: String,
    display_name: Option<String>,
    user_principal_name: Option<String>,
}

/// What Graph says of the token's tenant.
#[derive(Deserialize)]
struct Organizations {
    value: Vec<Organization>,
}

#[derive(Deserialize)]
struct Organization {
    id: String,
}

impl Tenants {
    /// The tenant of this id, if it is allowed; before a URL is made from it.
    pub(super) fn check(&self, id: Option<&str>) -> Result<Uuid, Refusal> {
        let id = id.ok_or(Refusal::WrongTenant)?;
        let tenant = Uuid::try_parse(id).map_err(|_| Refusal::WrongTenant)?;
        let is_allowed = match self {
            Self::Any => true,
            Self::Listed(tenants) => tenants.contains(&tenant),
        };
        // A UUID has other spellings; a tenant has this one.
        if is_allowed && tenant.to_string() == id { Ok(tenant) } else { Err(Refusal::WrongTenant) }
    }
}

impl Microsoft<'_> {
    fn caller(&self) -> Caller<'_> {
        self.desk.http.of(Provider::Microsoft)
    }

    fn issuer(&self, tenant: Uuid) -> String {
        format!("{}/{tenant}/v2.0", self.settings.authority)
    }

    /// Whether a callback's `iss` is that of an allowed tenant.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        let tenant = issuer.strip_prefix(&self.settings.authority).and_then(|rest| rest.strip_prefix('/'));
        let tenant = tenant.and_then(|rest| rest.strip_suffix("/v2.0"));
        tenant.is_some_and(|tenant| self.settings.tenants.check(Some(tenant)).is_ok())
    }

    /// Where people sign in: at the one tenant, else at all organizations, or with personal accounts, too.
    pub(super) async fn sign_in_documents(&self) -> Result<Arc<Known>, OidcError> {
        let place = match &self.settings.tenants {
            Tenants::Listed(tenants) if tenants.len() == 1 => {
                let issuer = tenants.first().map(|tenant| self.issuer(*tenant)).unwrap_or_default();
                return Ok(self.desk.documents.of(self.caller(), &issuer, Need::Endpoints).await?);
            }
            Tenants::Listed(_) => "organizations",
            Tenants::Any => "common",
        };
        let place = format!("{}/{place}/v2.0", self.settings.authority);
        let template = format!("{}/{{tenantid}}/v2.0", self.settings.authority);
        Ok(self.desk.documents.of_template(self.caller(), &place, &template).await?)
    }

    /// Whose access token is it, and is it for our own API?
    pub(super) async fn access_token(&self, token: &SecretString) -> Result<ProviderIdentity, OidcError> {
        let text = token.expose_secret();
        let is_opaque = text.matches('.').count() != 2;
        if is_opaque || is_for_graph(&Unverified::read(text)?) {
            return self.graph_token(token).await;
        }
        let own = self.settings.client_ids.iter();
        let audiences: Vec<String> = own.flat_map(|id| [id.clone(), format!("api://{id}")]).collect();
        let (issuer, claims) = self.claims(text, &audiences, ACCESS_TOKEN).await?;
        // A token without a scope is an app's own, or an ID token.
        if claims.additional_claims().scp.is_none() {
            return Err(Refusal::WrongTokenType.into());
        }
        Ok(identity(&issuer, &claims)?)
    }

    /// Whose ID token is it?
    pub(super) async fn id_token(&self, token: &str, nonce: Option<&str>) -> Result<ProviderIdentity, OidcError> {
        let (issuer, claims) = self.claims(token, &self.settings.client_ids, ID_TOKEN).await?;
        token::check_id_token(&claims, nonce, self.desk.clock.now())?;
        Ok(identity(&issuer, &claims)?)
    }

    /// The claims of a v2.0 token, and its tenant's issuer.
    async fn claims(
        &self,
        token: &str,
        audiences: &[String],
        types: &'static [&'static str],
    ) -> Result<(String, Claims), OidcError> {
        let unverified = Unverified::read(token)?;
        let tenant = self.settings.tenants.check(unverified.claims.tid.as_deref())?;
        let issuer = self.issuer(tenant);
        let need = Need::Key(unverified.header.kid.as_deref());
        let known = self.desk.documents.of(self.caller(), &issuer, need).await.map_err(|error| match error {
            Undiscovered::NoSuchIssuer(..) => Refusal::WrongTenant.into(),
            Undiscovered::Unavailable(error) => error,
        })?;
        let expected = Expected { keys: &known, issuer: &issuer, issuer_alias: None, audiences, types };
        let claims = expected.verify(token, self.desk.clock.now())?;
        let extra = claims.additional_claims();
        if self.settings.tenants.check(extra.tid.as_deref())? != tenant {
            return Err(Refusal::WrongTenant.into());
        }
        if extra.ver.as_ref().and_then(Value::as_str) != Some("2.0") {
            return Err(Refusal::WrongTokenVersion.into());
        }
        token::check_authorized_party(&claims, &self.settings.client_ids)?;
        Ok((issuer, claims))
    }

    /// Whose Graph token is it? Graph says who, and of which tenant; nobody says
    /// for which app it was issued, so that any app which its user has signed in
    /// to could hand it in here. Hence only where that is accepted.
    async fn graph_token(&self, token: &SecretString) -> Result<ProviderIdentity, OidcError> {
        if !self.settings.accepts_graph_tokens {
            return Err(Refusal::GraphToken.into());
        }
        let caller = self.caller();
        let graph = &self.settings.graph_url;
        let organizations: Organizations = caller.get(&format!("{graph}/v1.0/organization?$select=id"), token).await?;
        let [organization] = &organizations.value[..] else { return Err(Refusal::WrongTenant.into()) };
        let tenant = self.settings.tenants.check(Some(&organization.id))?;
        let me: Me = caller.get(&format!("{graph}/v1.0/me"), token).await?;
        let profile = Profile { name: me.display_name, username: me.user_principal_name, ..Profile::default() };
        if me.id.is_empty() {
            return Err(Refusal::WrongSubject.into());
        }
        Ok(profile.identity(Provider::Microsoft, &self.issuer(tenant), &me.id))
    }
}

fn is_for_graph(unverified: &Unverified) -> bool {
    GRAPH_AUDIENCES.iter().any(|audience| unverified.claims.is_for(audience))
}

fn identity(issuer: &str, claims: &Claims) -> Result<ProviderIdentity, Refusal> {
    let extra = claims.additional_claims();
    let subject = extra.oid.as_deref().filter(|subject| !subject.is_empty()).ok_or(Refusal::WrongSubject)?;
    // Whether the tenant owns the email's domain: a claim that the app's registration asks for.
    let is_email_verified = match &extra.xms_edov {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::Number(number)) => number.as_u64() == Some(1),
        Some(Value::String(text)) => text == "1" || text == "true",
        _ => false,
    };
    let profile = Profile { is_email_verified, ..Profile::from(claims) };
    Ok(profile.identity(Provider::Microsoft, issuer, subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_allowed_by_its_one_spelling() {
        const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let tenant = Uuid::try_parse(ID).unwrap();
        let listed = Tenants::Listed(vec![tenant]);
        assert_eq!(listed.check(Some(ID)), Ok(tenant));
        assert_eq!(Tenants::Any.check(Some(ID)), Ok(tenant));
        assert!(listed.check(Some("11111111-2222-3333-4444-555555555555")).is_err());
        let upper = ID.to_uppercase();
        let simple = ID.replace('-', "");
        let braced = format!("{{{ID}}}");
        for lie in ["", "common", "contoso.com", "../x", &upper, &simple, &braced, &format!("{ID}/..")] {
            assert_eq!(Tenants::Any.check(Some(lie)), Err(Refusal::WrongTenant), "{lie}");
            assert_eq!(listed.check(Some(lie)), Err(Refusal::WrongTenant), "{lie}");
        }
        assert!(Tenants::Any.check(None).is_err());
    }
}
