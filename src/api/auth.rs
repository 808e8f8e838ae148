//! Registration, sign-in, refresh and sign-out.

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Json, JsonOrForm, OptionalJson, flag};
use super::endpoint::{Endpoint, Needs};
use super::{Services, client, refresh_cookie};
use crate::actors::{NewAccount, ServiceError, TokenPair, is_well_formed_name};
use crate::domain::{Email, FieldError, FullName, NewPassword, SessionEnd, User, Username};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(|| Method::POST, "/auth/register", Needs::Nothing, "REGISTER", || Route::new().to(register))
            .about("user"),
        Endpoint::new(|| Method::POST, "/auth/login", Needs::Nothing, "LOGIN", || Route::new().to(login)),
        Endpoint::new(|| Method::POST, "/auth/refresh", Needs::Nothing, "TOKEN_REFRESH", || Route::new().to(refresh)),
        Endpoint::new(|| Method::POST, "/auth/logout", Needs::Account, "LOGOUT", || Route::new().to(logout)),
    ]
}

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct RegisterRequest {
    /// 3 to 64 of `A-Z a-z 0-9 . _ -`; unique without regard to case.
    #[schema(example = "johndoe", min_length = 3, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    pub(super) username: String,
    /// A valid address; unique without regard to case.
    #[schema(example = "john@example.com", max_length = 254, format = Email)]
    pub(super) email: String,
    /// From `PASSWORD_MIN_LENGTH` characters to 72 bytes.
    #[schema(value_type = String, example = "securepassword123", format = Password)]
    pub(super) password: SecretString,
    /// At most 200 characters.
    #[schema(example = "John Doe", max_length = 200)]
    pub(super) full_name: Option<String>,
}

/// A name or address with its password.
#[derive(Deserialize, ToSchema)]
pub(super) struct LoginRequest {
    /// The username, or the email.
    #[schema(example = "johndoe")]
    username: String,
    /// The password.
    #[schema(value_type = String, example = "securepassword123", format = Password)]
    password: SecretString,
    /// Whether the refresh token comes as a cookie, which only the browser reads.
    #[serde(default, deserialize_with = "flag")]
    use_cookie: bool,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// As the last sign-in or refresh gave it; absent where it is in the cookie.
    #[schema(value_type = Option<String>, example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...")]
    refresh_token: Option<SecretString>,
}

/// A pair of tokens (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
pub(super) struct TokenResponse<'a> {
    /// For the `Authorization` header.
    #[schema(example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...")]
    access_token: &'a str,
    /// For the next pair; it works once. Absent where it comes as a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...")]
    refresh_token: Option<&'a str>,
    /// `bearer`.
    #[schema(example = "bearer")]
    token_type: &'a str,
    /// How long the access token lives, in seconds.
    #[schema(example = 1800)]
    expires_in: u64,
}

/// A pair as an answer, its refresh token in the body or in the cookie.
pub(super) fn token_response(pair: &TokenPair, use_cookie: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if use_cookie {
        response.cookie(refresh_cookie::of(pair));
    }
    response.json(TokenResponse {
        access_token: pair.access_token.expose_secret(),
        refresh_token: (!use_cookie).then(|| pair.refresh_token.expose_secret()),
        token_type: "bearer",
        expires_in: pair.expires_in.as_secs(),
    })
}

/// Register a user
///
/// Makes an account with the default role.
///
/// **Permissions**: none; `ENABLE_REGISTRATION=false` refuses.
#[utoipa::path(post, path = "/auth/register", tag = "Authentication", request_body = RegisterRequest,
    responses((status = 201, description = "The account", body = User, headers(("Location" = String, description = "Where the account is"))),
        (status = 403, description = "`registration_disabled`"), (status = 409, description = "`username_taken`, `email_taken`")))]
async fn register(
    request: HttpRequest,
    services: web::Data<Services>,
    body: Json<RegisterRequest>,
) -> Result<HttpResponse, ApiError> {
    if !services.settings.is_registration_enabled {
        return Err(ApiError::RegistrationDisabled);
    }
    let account = new_account(&services, body.0)?;
    let user = services.accounts.create(account).await.map_err(role_is_not_asked_for)?;
    AuditNote::on(&request, |note| {
        note.user(user.id, user.username.clone()).resource("user", Some(user.id.to_string()));
    });
    Ok(HttpResponse::Created().insert_header((header::LOCATION, format!("/admin/users/{}", user.id))).json(user))
}

/// A new user's role is `DEFAULT_ROLE`: that there is no such role is no fault of who registers.
pub(super) fn role_is_not_asked_for(error: ServiceError) -> ApiError {
    match error {
        ServiceError::NoSuchRole => ApiError::Unavailable("DEFAULT_ROLE is no role any more".into()),
        other => other.into(),
    }
}

/// The account that a request describes, with the default role.
pub(super) fn new_account(services: &Services, request: RegisterRequest) -> Result<NewAccount, ApiError> {
    let mut errors: Vec<FieldError> = Vec::new();
    let username = Username::parse(&request.username).map_err(|error| errors.push(error)).ok();
    let email = Email::parse(&request.email).map_err(|error| errors.push(error)).ok();
    let full_name = match request.full_name.as_deref().map(FullName::parse) {
        Some(Err(error)) => {
            errors.push(error);
            None
        }
        Some(Ok(name)) => Some(name),
        None => None,
    };
    // Without a name the policy is asked about all but the name.
    let policy = services.settings.password_policy;
    let password = NewPassword::parse(&request.password, policy, username.as_ref(), email.as_ref())
        .map_err(|error| errors.push(error))
        .ok();
    match (username, email, password) {
        (Some(username), Some(email), Some(password)) if errors.is_empty() => Ok(NewAccount {
            username,
            email,
            full_name,
            password,
            roles: vec![services.settings.default_role.clone()],
            is_superuser: false,
        }),
        _ => Err(ApiError::Validation(errors)),
    }
}

/// Sign in
///
/// By username or email; as JSON, or as a form with the same fields.
///
/// **Permissions**: none.
#[utoipa::path(post, path = "/auth/login", tag = "Authentication",
    request_body(content((LoginRequest = "application/json"), (LoginRequest = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "A pair of tokens", body = TokenResponse),
        (status = 401, description = "`invalid_credentials`: one answer for an unknown name and a wrong password"),
        (status = 403, description = "`origin_not_allowed`: another site's page asks for the cookie")))]
async fn login(
    request: HttpRequest,
    services: web::Data<Services>,
    body: JsonOrForm<LoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let LoginRequest { username, password, use_cookie } = body.0;
    refresh_cookie::check_sign_in(&request, &services.settings, use_cookie)?;
    let result =
        services.accounts.log_in(&username, &password, client::address(&request), client::user_agent(&request)).await;
    services.metrics.logins.with_label_values(&[login_result(&result)]).inc();
    match result {
        Ok((pair, user_id, username)) => {
            AuditNote::on(&request, |note| {
                note.user(user_id, username);
            });
            Ok(token_response(&pair, use_cookie))
        }
        Err(error) => {
            // What is no name may be a password that was typed into the wrong box.
            if is_well_formed_name(&username) {
                AuditNote::on(&request, |note| {
                    note.metadata("username", username);
                });
            }
            Err(error.into())
        }
    }
}

fn login_result<T>(result: &Result<T, ServiceError>) -> &'static str {
    match result {
        Ok(_) => "success",
        Err(ServiceError::InvalidCredentials) => "denied",
        Err(_) => "error",
    }
}

/// Refresh an expired access token
///
/// Gives a new pair; the presented refresh token works no more, but for a few
/// seconds gives the same successor again. Later reuse ends the session.
///
/// **Permissions**: none; the refresh token says who it is.
#[utoipa::path(post, path = "/auth/refresh", tag = "Authentication", request_body = Option<RefreshRequest>,
    responses((status = 200, description = "A pair of tokens", body = TokenResponse),
        (status = 401, description = "`token_invalid`, `token_expired`, `token_revoked`; `not_authenticated` with neither body nor cookie"),
        (status = 403, description = "`origin_not_allowed`: the cookie was sent by another site's page")))]
async fn refresh(
    request: HttpRequest,
    services: web::Data<Services>,
    body: OptionalJson<RefreshRequest>,
) -> Result<HttpResponse, ApiError> {
    let (token, use_cookie) = match presented(&request, &services, &body)? {
        Some(presented) => presented,
        None => return Err(body.missing(&request, "refresh_token")),
    };
    match services.tokens.refresh(token.expose_secret()).await {
        Ok((pair, user_id, username)) => {
            AuditNote::on(&request, |note| {
                note.user(user_id, username);
            });
            Ok(token_response(&pair, use_cookie))
        }
        Err(error) => {
            let reason = match &error {
                ServiceError::Token(error) => Some(error.reason()),
                ServiceError::TokenReuse { .. } => Some("reused"),
                _ => None,
            };
            if let Some(reason) = reason {
                services.metrics.tokens_refused.with_label_values(&[reason]).inc();
            }
            if let ServiceError::TokenReuse { user_id, session_id } = &error {
                // The name where it is at hand; the id says who it was in any case.
                let user = services.accounts.find(*user_id).await.ok().flatten();
                AuditNote::on(&request, |note| {
                    note.action("REFRESH_TOKEN_REUSE").resource("session", Some(session_id.to_string()));
                    match user {
                        Some(user) => note.user(*user_id, user.username.clone()),
                        None => note.metadata("user_id", user_id.to_string()),
                    };
                });
            }
            Err(error.into())
        }
    }
}

/// The refresh token that a request brings, and whether its cookie does; the body goes before.
fn presented(
    request: &HttpRequest,
    services: &Services,
    body: &OptionalJson<RefreshRequest>,
) -> Result<Option<(SecretString, bool)>, ApiError> {
    if let Some(RefreshRequest { refresh_token: Some(token) }) = &body.0 {
        return Ok(Some((token.clone(), false)));
    }
    Ok(refresh_cookie::read(request, &services.settings)?.map(|token| (token, true)))
}

/// Sign out
///
/// Ends the session of the given refresh token, its access tokens included;
/// without one, the caller's own. A refresh token that is unknown, expired
/// or of an ended session is no error (RFC 7009 §2.2).
///
/// **Permissions**: any user.
#[utoipa::path(post, path = "/auth/logout", tag = "Authentication", request_body = Option<RefreshRequest>,
    responses((status = 403, description = "`origin_not_allowed`: the cookie was sent by another site's page"),
        (status = 204, description = "The session has ended"),
        (status = 401, description = "`not_authenticated`, `token_expired`, `token_revoked`, `token_invalid`: also where the refresh token is another user's")))]
async fn logout(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: OptionalJson<RefreshRequest>,
) -> Result<HttpResponse, ApiError> {
    let session = match presented(&request, &services, &body)? {
        None => principal.session(),
        Some((token, is_cookie)) => match services.tokens.read_refresh(&token) {
            Ok(claims) if claims.sub == principal.id() => Some(claims.sid),
            Ok(_) => return Err(ApiError::TokenInvalid("The refresh token is another user's")),
            // A cookie that outlived its key is no reason to stay signed in.
            Err(_) => principal.session().filter(|_| is_cookie),
        },
    };
    if let Some(session) = session {
        services.tokens.end_sessions(principal.id(), SessionEnd::One(session)).await?;
        AuditNote::on(&request, |note| {
            note.resource("session", Some(session.to_string()));
        });
    }
    let mut response = HttpResponse::NoContent();
    if refresh_cookie::is_in(&request) {
        response.cookie(refresh_cookie::removal());
    }
    Ok(response.finish())
}
