//! Sign-in by a browser: to the provider, and back.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, Route, web};

use super::endpoint::{Endpoint, Needs};
use super::oauth::{note_identity, note_refusal, parse_provider, result_of};
use super::query::Query;
use super::{Services, cookies};
use crate::actors::{Callback, FlowRequest, ServiceError, is_random_text, random_text};
use crate::domain::FieldCode;
use crate::guard::{AuditNote, RequestId};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            || Method::GET,
            "/auth/oauth/{provider}/authorize",
            Needs::Nothing,
            "OAUTH_AUTHORIZE",
            || Route::new().to(authorize),
        ),
        Endpoint::new(
            || Method::GET,
            "/auth/oauth/{provider}/callback",
            Needs::Nothing,
            "OAUTH_CALLBACK",
            || Route::new().to(callback),
        ),
    ]
}

/// Which browser it is, for as long as a sign-in takes: a state in another browser's hands is worth nothing.
/// The prefix keeps other hosts of the domain from setting it (RFC 6265bis §4.1.3).
const BROWSER: &str = "__Host-portcullis-browser";

/// As long as somebody may take at the provider.
const BROWSER_LIFETIME: Duration = Duration::minutes(10);

/// What a provider may say in place of a code (RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6); what it says
/// otherwise is somebody's no.
const ERRORS: [&str; 8] = [
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "login_required",
    "consent_required",
];

fn known_error(error: &str) -> &'static str {
    ERRORS.into_iter().find(|known| *known == error).unwrap_or(ERRORS[0])
}

/// The greatest state of a page.
const MAX_PAGE_STATE: usize = 1024;

/// Lax: the provider sends the browser back from its own site.
fn browser_cookie(browser: String) -> Cookie<'static> {
    Cookie::build(BROWSER, browser)
        .http_only(true)
        .secure(true)
        .same_site(SameSite::Lax)
        .path("/")
        .max_age(BROWSER_LIFETIME)
        .finish()
}

/// The request's own, so that two tabs can sign in at once.
fn browser_of(request: &HttpRequest) -> Option<String> {
    cookies::find(request, BROWSER).filter(|browser| is_random_text(browser)).map(str::to_owned)
}

/// Where the browser goes; the URL that it comes from stays with us.
fn redirect(location: &str, cookie: Option<Cookie<'static>>) -> HttpResponse {
    let mut response = HttpResponse::Found();
    response
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if let Some(cookie) = cookie {
        response.cookie(cookie);
    }
    response.finish()
}

/// Begin a sign-in in a browser
///
/// Sends the browser to the provider. It comes back to `redirect_uri`, with a `code` for
/// `POST /auth/oauth/exchange` and the page's `state`, or with an `error`: `access_denied`, or a
/// problem's code as `invalid_provider_token`, and an `error_description`.
///
/// **Permissions**: none.
#[utoipa::path(get, path = "/auth/oauth/{provider}/authorize", tag = "Authentication", params(
        ("provider" = String, Path, description = "`google`, `microsoft` or `okta`"),
        ("redirect_uri" = String, Query, description = "One of `OAUTH_REDIRECT_ALLOWLIST`, exactly"),
        ("code_challenge" = String, Query, description = "The page's own challenge (RFC 7636, S256)"),
        ("code_challenge_method" = Option<String>, Query, description = "`S256`, which it is without, too"),
        ("state" = String, Query, description = "What the page knows its sign-in by, at most 1024 characters: it comes back"),
        ("okta_domain" = Option<String>, Query, description = "Which of `OAUTH_OKTA_DOMAIN`; needed where there are several")),
    responses((status = 302, description = "To the provider"),
        (status = 422, description = "`unknown_provider`, `provider_not_configured`, `redirect_not_allowed`, `validation_error`"),
        (status = 503, description = "`provider_unavailable`")))]
async fn authorize(
    request: HttpRequest,
    services: web::Data<Services>,
    provider: web::Path<String>,
    mut query: Query,
) -> Result<HttpResponse, ApiError> {
    let provider = parse_provider(&provider)?;
    let redirect_uri = query.text("redirect_uri");
    let code_challenge = query.text("code_challenge");
    query.one_of("code_challenge_method", &["S256"]);
    let page_state = query.text("state");
    let okta_domain = query.text("okta_domain");
    for (name, value) in [("redirect_uri", &redirect_uri), ("code_challenge", &code_challenge), ("state", &page_state)]
    {
        if value.is_none() {
            query.refuse(name, FieldCode::Required, "Field required");
        }
    }
    if page_state.as_ref().is_some_and(|state| state.len() > MAX_PAGE_STATE) {
        query.refuse("state", FieldCode::TooLong, "At most 1024 characters");
    }
    query.finish()?;
    let flow = FlowRequest {
        provider,
        okta_domain,
        redirect_uri: redirect_uri.unwrap_or_default(),
        page_state: page_state.unwrap_or_default(),
        code_challenge: code_challenge.unwrap_or_default(),
    };
    AuditNote::on(&request, |note| {
        note.metadata("provider", provider.as_str());
    });
    let browser = match browser_of(&request) {
        Some(browser) => browser,
        None => random_text()?,
    };
    let location = services.identities.begin_flow(flow, &browser).await?;
    Ok(redirect(&location, Some(browser_cookie(browser))))
}

/// Come back from the provider
///
/// Where the provider sends the browser: `{PUBLIC_URL}/auth/oauth/{provider}/callback`, to be
/// registered there. Sends it on to the page.
///
/// **Permissions**: none; the state and the browser's cookie say whose sign-in it is.
#[utoipa::path(get, path = "/auth/oauth/{provider}/callback", tag = "Authentication", params(
        ("provider" = String, Path, description = "`google`, `microsoft` or `okta`"),
        ("state" = String, Query, description = "As it was sent to the provider"),
        ("code" = Option<String>, Query, description = "The provider's code"),
        ("iss" = Option<String>, Query, description = "Who answers (RFC 9207)"),
        ("error" = Option<String>, Query, description = "The provider's error")),
    responses((status = 302, description = "To the page, with `code` or `error`, and its `state`"),
        (status = 400, description = "`invalid_state`: the sign-in is over, or another browser's"),
        (status = 422, description = "`unknown_provider`, `validation_error`")))]
async fn callback(
    request: HttpRequest,
    services: web::Data<Services>,
    provider: web::Path<String>,
    mut query: Query,
) -> Result<HttpResponse, ApiError> {
    let provider = parse_provider(&provider)?;
    let (state, code, iss) = (query.text("state"), query.text("code"), query.text("iss"));
    let error = query.text("error");
    query.finish()?;
    AuditNote::on(&request, |note| {
        note.metadata("provider", provider.as_str());
    });
    let state = state.filter(|state| is_random_text(state));
    let (Some(state), Some(browser)) = (state, browser_of(&request)) else { return Err(ApiError::InvalidState) };
    // Who only looks ahead uses nothing up.
    if request.method() == Method::HEAD {
        return Err(ApiError::InvalidState);
    }
    let answer = match (error, code) {
        (None, Some(code)) => Ok(code.into()),
        (error, _) => Err(error.unwrap_or_default()),
    };
    let end = services.identities.end_flow(Callback { provider, state, answer, iss }, &browser).await?;
    let parameters = match end.result {
        Ok((code, identity)) => {
            note_identity(&request, &identity);
            vec![("code", code)]
        }
        Err(ServiceError::ProviderError(error)) => {
            let error = known_error(&error);
            note_refusal(&request, &services, provider, error);
            vec![("error", error.to_owned())]
        }
        Err(error) => {
            let error = ApiError::from(error);
            if let Some(cause) = error.cause() {
                let request_id = RequestId::of_request(&request);
                let request_id = request_id.as_ref().map(RequestId::as_str).unwrap_or_default();
                log::error!("[{request_id}] sign-in with {provider}: {cause}");
            }
            note_refusal(&request, &services, provider, result_of(&error));
            vec![("error", error.code().to_owned()), ("error_description", error.detail())]
        }
    };
    let parameters = parameters.into_iter().chain([("state", end.page_state)]);
    Ok(redirect(&with_parameters(&end.redirect_uri, parameters), None))
}

/// A URL of the allow-list with more parameters.
fn with_parameters(url: &str, parameters: impl Iterator<Item = (&'static str, String)>) -> String {
    let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gets_its_parameters_beside_its_own() {
        let with_code = |url| with_parameters(url, [("code", "x&y".to_owned())].into_iter());
        assert_eq!(with_code("https://a.example/in"), "https://a.example/in?code=x%26y");
        assert_eq!(with_code("https://a.example/in?a=b"), "https://a.example/in?a=b&code=x%26y");
    }
}
