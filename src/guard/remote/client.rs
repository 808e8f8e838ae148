//! Requests to the service.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::settings::RemoteSettings;
use crate::guard::Requirement;
use crate::problem::ApiError;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

pub(super) struct Client {
    http: reqwest::Client,
    key_set: Url,
    check: Url,
    failed_at: Mutex<Option<Instant>>,
}

/// What the service says of a token.
pub(super) enum Answer {
    /// It is good; the answers to the questions, in their order.
    Decided(Vec<bool>),
    /// The service refuses the token.
    Refused(ApiError),
    /// The service knows no such permissions or roles: those at these places.
    Unknown(Vec<usize>),
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Check<'a> {
    Permission(&'a str),
    Role(&'a str),
}

#[derive(Deserialize)]
struct CheckResponse {
    results: Vec<bool>,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    field: String,
}

impl Client {
    pub(super) fn new(settings: &RemoteSettings) -> Result<Self, String> {
        let base = Url::parse(&settings.url).map_err(|error| format!("{:?} is no URL: {error}", settings.url))?;
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback) {
            return Err(format!("{:?}: tokens are sent by https only, or http to a loopback host", settings.url));
        }
        let at = |path: &str| {
            let base = settings.url.trim_end_matches('/');
            Url::parse(&format!("{base}{path}")).map_err(|error| format!("{:?}: {error}", settings.url))
        };
        let http = reqwest::Client::builder();
        // What is not encrypted goes straight to this host, and through nobody's proxy.
        let http = if base.scheme() == "http" { http.no_proxy() } else { http };
        let http = http
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .timeout(settings.timeout)
            // A token goes nowhere else.
            .redirect(Policy::none())
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("no HTTP client can be made: {error}"))?;
        Ok(Self {
            http,
            key_set: at("/.well-known/jwks.json")?,
            check: at("/authz/check")?,
            failed_at: Mutex::default(),
        })
    }

    /// Whether the service was found away since then: who waited for that
    /// attempt does not wait for another one.
    pub(super) fn check_failed_since(&self, begun: Instant) -> Result<(), ApiError> {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if failed_at.is_some_and(|at| at >= begun) {
            return Err(ApiError::Unavailable("the service does not answer".into()));
        }
        Ok(())
    }

    fn note_failure<T>(&self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        if outcome.is_err() {
            *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        outcome
    }

    pub(super) async fn key_set(&self) -> Result<JwkSet, ApiError> {
        self.note_failure(self.fetch_key_set().await)
    }

    /// Asks up to a hundred questions with the caller's own token.
    pub(super) async fn check(&self, token: &str, questions: &[Requirement]) -> Result<Answer, ApiError> {
        self.note_failure(self.ask(token, questions).await)
    }

    async fn fetch_key_set(&self) -> Result<JwkSet, ApiError> {
        let response = self.http.get(self.key_set.clone()).send().await.map_err(unavailable)?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(response.status()));
        }
        serde_json::from_slice(&body(response).await?)
            .map_err(|error| ApiError::Unavailable(format!("the service's key set can't be read: {error}")))
    }

    async fn ask(&self, token: &str, questions: &[Requirement]) -> Result<Answer, ApiError> {
        let checks = questions
            .iter()
            .filter_map(|question| match question {
                Requirement::Permission(permission) => Some(Check::Permission(permission.as_str())),
                Requirement::Role(role) => Some(Check::Role(role.as_str())),
                Requirement::Authentication | Requirement::Any(_) | Requirement::All(_) => None,
            })
            .collect();
        let request = self.http.post(self.check.clone()).bearer_auth(token).json(&CheckRequest { checks });
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let body = body(response).await?;
        let problem = || serde_json::from_slice::<Problem>(&body).map_err(|_| unexpected(status));
        match status {
            StatusCode::OK => {
                let answer: CheckResponse = serde_json::from_slice(&body).map_err(|_| unexpected(status))?;
                if answer.results.len() == questions.len() {
                    Ok(Answer::Decided(answer.results))
                } else {
                    Err(unexpected(status))
                }
            }
            StatusCode::UNAUTHORIZED => Ok(Answer::Refused(match problem()?.code.as_str() {
                "token_expired" => ApiError::TokenExpired,
                "token_revoked" => ApiError::TokenRevoked,
                _ => ApiError::TokenInvalid("Token is not accepted"),
            })),
            StatusCode::UNPROCESSABLE_ENTITY => {
                let places: Vec<usize> = problem()?.errors.iter().filter_map(|fault| place(&fault.field)).collect();
                if places.is_empty() { Err(unexpected(status)) } else { Ok(Answer::Unknown(places)) }
            }
            _ => Err(unexpected(status)),
        }
    }
}

/// The 3 of `checks[3].permission`.
fn place(field: &str) -> Option<usize> {
    field.strip_prefix("checks[")?.split_once(']')?.0.parse().ok()
}

/// An answer's body within its bound.
async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ApiError::Unavailable("the service's answer is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unavailable(error: reqwest::Error) -> ApiError {
    ApiError::Unavailable(format!("the service does not answer: {error}"))
}

fn unexpected(status: StatusCode) -> ApiError {
    ApiError::Unavailable(format!("the service answered {status}"))
}
