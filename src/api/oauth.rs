//! Sign-in by a provider's token, or by the code that ends a sign-in in a browser.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{TokenResponse, token_response};
use super::body::{Json, flag};
use super::endpoint::{Endpoint, Needs};
use super::{Services, client, refresh_cookie};
use crate::actors::{Client, Credential, IdentityOrigin, ProviderSession, ProviderToken, ServiceResult, Verified};
use crate::domain::{FieldCode, FieldError, Provider, ProviderIdentity};
use crate::guard::AuditNote;
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(|| Method::POST, "/auth/oauth/login", Needs::Nothing, "OAUTH_LOGIN", || Route::new().to(login)),
        Endpoint::new(
            || Method::POST,
            "/auth/oauth/exchange",
            Needs::Nothing,
            "OAUTH_LOGIN",
            || Route::new().to(exchange),
        ),
    ]
}

/// What a provider issued to this app for somebody: one of the two tokens.
#[derive(Deserialize, ToSchema)]
pub(super) struct OauthLoginRequest {
    /// `google`, `microsoft` or `okta`.
    #[schema(example = "google")]
    provider: String,
    /// An access token of the provider.
    #[schema(value_type = Option<String>, example = "<google_access_token>")]
    access_token: Option<SecretString>,
    /// An ID token of the provider; it is accepted once, within ten minutes of its making.
    #[schema(value_type = Option<String>, example = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ...")]
    id_token: Option<SecretString>,
    /// The nonce that the ID token was asked for with.
    nonce: Option<String>,
    /// Which of `OAUTH_OKTA_DOMAIN`; needed where there are several.
    #[schema(example = "dev-123456.okta.com")]
    okta_domain: Option<String>,
    /// Whether the refresh token comes as a cookie, which only the browser reads.
    #[serde(default, deserialize_with = "flag")]
    use_cookie: bool,
}

impl OauthLoginRequest {
    /// What of it is to be verified.
    pub(super) fn into_credential(self) -> Result<Credential, ApiError> {
        let provider = parse_provider(&self.provider)?;
        let refuse = |field, code, message| Err(ApiError::field(FieldError::new(field, code, message)));
        let token = match (self.access_token, self.id_token) {
            (Some(token), None) => ProviderToken::Access(token),
            (None, Some(token)) => ProviderToken::Id { token, nonce: self.nonce },
            (None, None) => return refuse("access_token", FieldCode::Required, "Send access_token or id_token"),
            (Some(_), Some(_)) => {
                return refuse("id_token", FieldCode::Repeated, "Send either access_token or id_token");
            }
        };
        Ok(Credential { provider, okta_domain: self.okta_domain, token })
    }
}

/// One of the providers, by the name that requests and paths have for it.
pub(super) fn parse_provider(name: &str) -> Result<Provider, ApiError> {
    name.parse().map_err(|_| ApiError::UnknownProvider)
}

/// Tells the request's audit record which account it is about; never a token.
pub(super) fn note_identity(request: &HttpRequest, identity: &ProviderIdentity) {
    AuditNote::on(request, |note| {
        note.metadata("provider", identity.provider.as_str())
            .metadata("issuer", identity.issuer.as_str())
            .metadata("subject", identity.subject.as_str());
    });
}

/// What the metrics and the audit log call a sign-in that failed: the reason, else the problem's code.
pub(super) fn result_of(error: &ApiError) -> &'static str {
    error.reason().unwrap_or_else(|| error.code())
}

/// Counts a sign-in that failed, and tells the request's audit record why.
pub(super) fn note_refusal(request: &HttpRequest, services: &Services, provider: Provider, result: &'static str) {
    services.metrics.oauth_logins.with_label_values(&[provider.as_str(), result]).inc();
    note_reason(request, provider, result);
}

/// Tells the request's audit record why a provider's account is not accepted.
pub(super) fn note_reason(request: &HttpRequest, provider: Provider, reason: &'static str) {
    AuditNote::on(request, |note| {
        note.metadata("provider", provider.as_str()).metadata("reason", reason);
    });
}

/// Sign in with a provider's token
///
/// Verifies that the provider issued the token, to this app, for this person. An account
/// that nobody here has yet gets a user of its own, if `OAUTH_AUTO_REGISTER` allows it.
///
/// **Permissions**: none.
#[utoipa::path(post, path = "/auth/oauth/login", tag = "Authentication", request_body = OauthLoginRequest,
    responses((status = 200, description = "A pair of tokens", body = TokenResponse),
        (status = 401, description = "`invalid_provider_token`, with its reason"),
        (status = 403, description = "`account_disabled`, `registration_disabled`, `origin_not_allowed`"),
        (status = 409, description = "`account_exists`: the address belongs to another account here, which has to link this one"),
        (status = 422, description = "`unknown_provider`, `provider_not_configured`"),
        (status = 503, description = "`provider_unavailable`")))]
async fn login(
    request: HttpRequest,
    services: web::Data<Services>,
    body: Json<OauthLoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let use_cookie = body.0.use_cookie;
    refresh_cookie::check_sign_in(&request, &services.settings, use_cookie)?;
    let credential = body.0.into_credential()?;
    let provider = credential.provider;
    let result = match services.identities.verify(credential).await {
        Ok(verified) => sign_in(&request, &services, verified).await,
        Err(error) => Err(error),
    };
    answer(&request, &services, provider, result, use_cookie)
}

/// The page's code, and what proves that the page is the one that began.
#[derive(Deserialize, ToSchema)]
pub(super) struct ExchangeRequest {
    /// As it came back to the page; it lives for 60 seconds and works once.
    #[schema(value_type = String)]
    code: SecretString,
    /// What the page's `code_challenge` was made of (RFC 7636).
    #[schema(value_type = String)]
    code_verifier: SecretString,
    /// Whether the refresh token comes as a cookie, which only the browser reads.
    #[serde(default, deserialize_with = "flag")]
    use_cookie: bool,
}

/// End a sign-in in a browser
///
/// Exchanges the code that came back to the page for a pair of tokens.
///
/// **Permissions**: none.
#[utoipa::path(post, path = "/auth/oauth/exchange", tag = "Authentication", request_body = ExchangeRequest,
    responses((status = 200, description = "A pair of tokens", body = TokenResponse),
        (status = 400, description = "`invalid_grant`: the code is over or used, or the verifier does not fit"),
        (status = 403, description = "`account_disabled`, `registration_disabled`, `origin_not_allowed`"),
        (status = 409, description = "`account_exists`")))]
async fn exchange(
    request: HttpRequest,
    services: web::Data<Services>,
    body: Json<ExchangeRequest>,
) -> Result<HttpResponse, ApiError> {
    let ExchangeRequest { code, code_verifier, use_cookie } = body.0;
    refresh_cookie::check_sign_in(&request, &services.settings, use_cookie)?;
    check_verifier(&code_verifier)?;
    let verified = services.identities.exchange(&code, &code_verifier).await.map_err(|error| {
        let error = ApiError::from(error);
        AuditNote::on(&request, |note| {
            note.metadata("reason", result_of(&error));
        });
        error
    })?;
    let provider = verified.identity.provider;
    let result = sign_in(&request, &services, verified).await;
    answer(&request, &services, provider, result, use_cookie)
}

/// RFC 7636 §4.1.
fn check_verifier(verifier: &SecretString) -> Result<(), ApiError> {
    let verifier = verifier.expose_secret();
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if (43..=128).contains(&verifier.len()) && verifier.bytes().all(is_unreserved) {
        return Ok(());
    }
    let message = "Expected 43 to 128 of A-Z a-z 0-9 - . _ ~ (RFC 7636)";
    Err(ApiError::field(FieldError::new("code_verifier", FieldCode::Invalid, message)))
}

async fn sign_in(request: &HttpRequest, services: &Services, verified: Verified) -> ServiceResult<ProviderSession> {
    note_identity(request, &verified.identity);
    let client = Client { ip_address: client::address(request), user_agent: client::user_agent(request) };
    services.identities.sign_in(verified, client).await
}

fn answer(
    request: &HttpRequest,
    services: &Services,
    provider: Provider,
    result: ServiceResult<ProviderSession>,
    use_cookie: bool,
) -> Result<HttpResponse, ApiError> {
    match result {
        Ok(session) => {
            services.metrics.oauth_logins.with_label_values(&[provider.as_str(), "success"]).inc();
            AuditNote::on(request, |note| {
                note.user(session.user_id, session.username.clone());
                match session.origin {
                    IdentityOrigin::Known => {}
                    IdentityOrigin::Linked => {
                        note.metadata("linked", true);
                    }
                    IdentityOrigin::Registered => {
                        note.metadata("registered", true);
                    }
                }
            });
            Ok(token_response(&session.pair, use_cookie))
        }
        Err(error) => {
            let error = super::auth::role_is_not_asked_for(error);
            note_refusal(request, services, provider, result_of(&error));
            Err(error)
        }
    }
}
