//! Errors as the API shows them: RFC 9457 `application/problem+json`.
//!
//! The only table of statuses. A 5xx body never names a cause; the log does,
//! once, under the same request id.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue, TryIntoHeaderValue};
use actix_web::{HttpResponse, ResponseError};
use actix_web_httpauth::headers::www_authenticate::bearer::{self, Bearer};
use serde::Serialize;

use crate::domain::{Conflict, FieldError, Permission, Provider, Refusal, RoleName};

/// Why a request got no answer of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// The request is no HTTP that we understand, as a query key without meaning.
    BadRequest(String),
    /// The body is not JSON; says where.
    MalformedJson(String),
    /// No credentials, or some of another kind.
    NotAuthenticated,
    /// An access or refresh token after its time.
    TokenExpired,
    /// A well-signed token whose session or user is no more.
    TokenRevoked,
    /// Anything else that is wrong with a token.
    TokenInvalid(&'static str),
    /// A wrong password or an unknown name: one answer for both.
    InvalidCredentials,
    /// What the client brought from a sign-in provider is not accepted.
    InvalidProviderToken(Refusal),
    /// The caller lacks a permission.
    PermissionRequired(Permission),
    /// The caller lacks a role.
    RoleRequired(RoleName),
    /// The caller has none of several permissions and roles, any of which would do.
    AnyRequired(Vec<String>),
    /// The change would hand out, or take over, what the caller lacks.
    Escalation(&'static str),
    /// `ENABLE_REGISTRATION=false`.
    RegistrationDisabled,
    /// The account was deactivated; said only to who has proved that it is theirs.
    AccountDisabled,
    /// The present password, asked for again, is another one.
    WrongPassword,
    /// A page of another origin than the allowed ones, or one that asks for more than it may.
    OriginNotAllowed,
    /// The refresh token's cookie, or the wish for one, from a page of another origin or from no page.
    CookieNotAllowed,
    /// The account has no password that could be asked for again.
    NoPassword,
    /// A `Host` that is no loopback name, without authentication.
    HostNotAllowed,
    /// Nothing there.
    NotFound(&'static str),
    /// The path is known, the method is not; `Allow` names those that are.
    MethodNotAllowed(String),
    /// The body did not come in time.
    RequestTimeout,
    /// Somebody has this username.
    UsernameTaken,
    /// Somebody has this email.
    EmailTaken,
    /// Roles and permissions as they are do not allow it.
    Conflict(Conflict),
    /// A provider account's address is that of an account here, which has to link it.
    AccountExists,
    /// A provider account is another user's.
    IdentityTaken,
    /// As many provider accounts are linked as may be.
    TooManyIdentities,
    /// Without this provider account its user could not sign in any more.
    LastCredential,
    /// It would take the last administrator away.
    LastAdmin,
    /// The body is longer than so many bytes.
    TooLarge(usize),
    /// The body is of another type, or of none.
    UnsupportedMediaType(&'static str),
    /// Fields are wrong.
    Validation(Vec<FieldError>),
    /// No sign-in provider has this name.
    UnknownProvider,
    /// A sign-in provider is not set up: this variable is missing.
    ProviderNotConfigured {
        /// The provider.
        provider: Provider,
        /// What to set.
        variable: &'static str,
    },
    /// A page that `OAUTH_REDIRECT_ALLOWLIST` does not name.
    RedirectNotAllowed,
    /// A browser's sign-in that is over, was begun by another browser, or never was.
    InvalidState,
    /// A page's code that is over or used, or a verifier that does not fit it (RFC 6749 §5.2).
    InvalidGrant,
    /// A sign-in provider is away. The text is for the log.
    ProviderUnavailable {
        /// The provider.
        provider: Provider,
        /// Why.
        cause: String,
    },
    /// The store or the audit log is away, or too many wait for a password
    /// hash. The text is for the log.
    Unavailable(String),
    /// A defect of ours. The text is for the log.
    Internal(String),
}

impl ApiError {
    /// One field is wrong.
    pub fn field(error: FieldError) -> Self {
        Self::Validation(vec![error])
    }

    /// Status and code of each; everything that decides them stands here.
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, "malformed_json"),
            Self::NotAuthenticated => (StatusCode::UNAUTHORIZED, "not_authenticated"),
            Self::TokenExpired => (StatusCode::UNAUTHORIZED, "token_expired"),
            Self::TokenRevoked => (StatusCode::UNAUTHORIZED, "token_revoked"),
            Self::TokenInvalid(_) => (StatusCode::UNAUTHORIZED, "token_invalid"),
            Self::InvalidCredentials => (StatusCode::UNAUTHORIZED, "invalid_credentials"),
            Self::InvalidProviderToken(_) => (StatusCode::UNAUTHORIZED, "invalid_provider_token"),
            Self::PermissionRequired(_) => (StatusCode::FORBIDDEN, "permission_required"),
            Self::AnyRequired(_) => (StatusCode::FORBIDDEN, "permission_required"),
            Self::RoleRequired(_) => (StatusCode::FORBIDDEN, "role_required"),
            Self::Escalation(_) => (StatusCode::FORBIDDEN, "escalation"),
            Self::RegistrationDisabled => (StatusCode::FORBIDDEN, "registration_disabled"),
            Self::AccountDisabled => (StatusCode::FORBIDDEN, "account_disabled"),
            Self::WrongPassword => (StatusCode::FORBIDDEN, "wrong_password"),
            Self::OriginNotAllowed => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Self::CookieNotAllowed => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Self::NoPassword => (StatusCode::FORBIDDEN, "wrong_password"),
            Self::HostNotAllowed => (StatusCode::FORBIDDEN, "host_not_allowed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::UsernameTaken => (StatusCode::CONFLICT, "username_taken"),
            Self::EmailTaken => (StatusCode::CONFLICT, "email_taken"),
            Self::Conflict(conflict) => (StatusCode::CONFLICT, conflict_code(conflict)),
            Self::AccountExists => (StatusCode::CONFLICT, "account_exists"),
            Self::IdentityTaken => (StatusCode::CONFLICT, "identity_taken"),
            Self::TooManyIdentities => (StatusCode::CONFLICT, "too_many_identities"),
            Self::LastCredential => (StatusCode::CONFLICT, "last_credential"),
            Self::LastAdmin => (StatusCode::CONFLICT, "last_admin"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::Validation(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
            Self::UnknownProvider => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_provider"),
            Self::ProviderNotConfigured { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "provider_not_configured"),
            Self::RedirectNotAllowed => (StatusCode::UNPROCESSABLE_ENTITY, "redirect_not_allowed"),
            Self::InvalidState => (StatusCode::BAD_REQUEST, "invalid_state"),
            Self::InvalidGrant => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::ProviderUnavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        }
    }

    /// Stable, for programs: `invalid_credentials`.
    pub fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    /// Why a sign-in provider's token was refused; stable.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::InvalidProviderToken(refusal) => Some(refusal.as_str()),
            _ => None,
        }
    }

    /// The cause, for the log alone.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Unavailable(cause) | Self::Internal(cause) | Self::ProviderUnavailable { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// For people, and for what FastAPI clients read.
    pub fn detail(&self) -> String {
        match self {
            Self::BadRequest(text) | Self::MalformedJson(text) => text.clone(),
            Self::NotAuthenticated => "Not authenticated".into(),
            Self::TokenExpired => "Token has expired".into(),
            Self::TokenRevoked => "Token has been revoked".into(),
            Self::TokenInvalid(text) | Self::Escalation(text) | Self::NotFound(text) => (*text).into(),
            Self::InvalidCredentials => "Incorrect username or password".into(),
            Self::PermissionRequired(permission) => format!("Permission required: {permission}"),
            Self::RoleRequired(role) => format!("Role required: {role}"),
            Self::AnyRequired(names) => format!("Permission required: {}", names.join(" or ")),
            Self::RegistrationDisabled => "Registration is disabled".into(),
            Self::InvalidProviderToken(refusal) => refusal.message().into(),
            Self::AccountDisabled => "This account is disabled".into(),
            Self::AccountExists => {
                "This email belongs to another account here: sign in to that as before, and link this provider account to it".into()
            }
            Self::IdentityTaken => "This provider account is linked to another user".into(),
            Self::TooManyIdentities => "At most 20 provider accounts can be linked".into(),
            Self::LastCredential => {
                "This is the only way to sign in to this account: link another one first, or let an administrator set a password".into()
            }
            Self::UnknownProvider => "Unknown provider: expected google, microsoft or okta".into(),
            Self::ProviderNotConfigured { provider, variable } => {
                format!("Sign-in with {provider} is not configured: {variable} is not set")
            }
            Self::RedirectNotAllowed => "This redirect_uri is not in OAUTH_REDIRECT_ALLOWLIST".into(),
            Self::InvalidState => "This sign-in is over, or was begun by another browser: begin again".into(),
            Self::InvalidGrant => "The code is over or used, or the code_verifier does not fit it".into(),
            Self::ProviderUnavailable { provider, .. } => format!("Sign-in provider unavailable: {provider}"),
            Self::WrongPassword => "The current password is wrong".into(),
            Self::OriginNotAllowed => "This origin, method or header is not allowed by CORS_ALLOWED_ORIGINS".into(),
            Self::CookieNotAllowed => {
                "The refresh cookie is for pages of PUBLIC_URL's origin and of CORS_ALLOWED_ORIGINS: this request has \
                 another Origin, or none"
                    .into()
            }
            Self::NoPassword => "This account has no password: an administrator can set one".into(),
            Self::HostNotAllowed => "Without authentication only loopback hosts are served".into(),
            Self::MethodNotAllowed(_) => "Method not allowed".into(),
            Self::RequestTimeout => "The request body did not arrive in time".into(),
            Self::UsernameTaken => "Username already registered".into(),
            Self::EmailTaken => "Email already registered".into(),
            Self::Conflict(conflict) => conflict.to_string(),
            Self::LastAdmin => "This would leave no active administrator who can sign in".into(),
            Self::TooLarge(limit) => format!("The body may have at most {limit} bytes"),
            Self::UnsupportedMediaType(wanted) => format!("The body must have the content type {wanted}"),
            Self::Validation(errors) => match errors.as_slice() {
                [only] => format!("{}: {}", only.field, only.message),
                more => format!("{} fields are invalid", more.len()),
            },
            Self::Unavailable(_) => "Service temporarily unavailable".into(),
            Self::Internal(_) => "Internal server error".into(),
        }
    }

    /// The answer, under a request's id.
    pub fn response(&self, request_id: &str) -> HttpResponse {
        let (status, code) = self.status_and_code();
        let problem = Problem {
            r#type: format!("urn:portcullis:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail(),
            code,
            request_id,
            reason: self.reason(),
            errors: match self {
                Self::Validation(errors) => errors,
                _ => &[],
            },
        };
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        for (name, value) in self.headers() {
            response.insert_header((name, value));
        }
        match serde_json::to_vec(&problem) {
            Ok(body) => response.body(body),
            Err(_) => response.finish(),
        }
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        // RFC 6750 §3: where a token was sent, what is wrong with it. One parameter at
        // most: between several the library leaves out RFC 9110's commas.
        let challenge = match self {
            Self::NotAuthenticated | Self::InvalidCredentials | Self::InvalidProviderToken(_) => {
                Some(Bearer::default())
            }
            Self::TokenExpired | Self::TokenRevoked | Self::TokenInvalid(_) => {
                Some(Bearer::build().error(bearer::Error::InvalidToken).finish())
            }
            _ => None,
        };
        if let Some(value) = challenge.and_then(|challenge| challenge.try_into_value().ok()) {
            headers.push((header::WWW_AUTHENTICATE, value));
        }
        match self {
            Self::MethodNotAllowed(allow) if !allow.is_empty() => {
                if let Ok(value) = HeaderValue::from_str(allow) {
                    headers.push((header::ALLOW, value));
                }
            }
            Self::Unavailable(_) | Self::ProviderUnavailable { .. } => {
                headers.push((header::RETRY_AFTER, HeaderValue::from_static("1")))
            }
            _ => {}
        }
        headers
    }
}

fn conflict_code(conflict: &Conflict) -> &'static str {
    match conflict {
        Conflict::RoleExists => "role_exists",
        Conflict::PermissionExists => "permission_exists",
        Conflict::PermissionInUse(_) => "permission_in_use",
        Conflict::RoleCycle(_) => "role_cycle",
        Conflict::BuiltIn(_) => "built_in",
        Conflict::DefaultRole { .. } => "default_role",
    }
}

/// RFC 9457 §3.1, with our `code`, `request_id` and `errors`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem<'a> {
    /// `urn:portcullis:problem:` and the code.
    #[schema(example = "urn:portcullis:problem:invalid_credentials")]
    r#type: String,
    /// The status in words.
    #[schema(example = "Unauthorized")]
    title: &'a str,
    /// The status.
    #[schema(example = 401)]
    status: u16,
    /// What happened, for people.
    #[schema(example = "Incorrect username or password")]
    detail: String,
    /// What happened, for programs: stable.
    #[schema(example = "invalid_credentials")]
    code: &'a str,
    /// The answer's `X-Request-Id`.
    #[schema(example = "0197e0a0-7c1e-7d3a-9b7e-0242ac120002")]
    request_id: &'a str,
    /// Why a sign-in provider's token was refused: stable; only with `invalid_provider_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "wrong_audience")]
    reason: Option<&'a str>,
    /// What is wrong with which field; only with 422.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>)]
    errors: &'a [FieldError],
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    /// Without a request id: the recorder, which knows it, writes the body anew.
    fn error_response(&self) -> HttpResponse {
        self.response("")
    }
}
