//! Requests to providers: within bounds of time, size and number.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openidconnect::http::Request;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::{OidcError, StartError};
use crate::domain::{Provider, Refusal};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a sign-in may take in all, the waiting for its turn included.
pub(super) const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Requests at once to one provider.
const AT_ONCE: usize = 32;

/// Requests that wait for their turn at one provider; more are turned away at once.
const MAX_WAITING: usize = 1024;

/// The one way out.
pub(super) struct Http {
    /// By TLS, by the system's authorities; without those there is none.
    secure: Result<Client, String>,
    /// Without TLS, to this host.
    plain: Client,
    gates: [Gate; Provider::ALL.len()],
}

impl Http {
    pub(super) fn new() -> Result<Self, StartError> {
        let made = |builder: ClientBuilder| {
            let builder = builder
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TOTAL_TIMEOUT)
                // A token, a code or a secret goes nowhere else.
                .redirect(Policy::none())
                .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
            builder.build().map_err(|error| format!("no HTTP client can be made: {}", describe(&error)))
        };
        let secure = made(Client::builder());
        if let Err(cause) = &secure {
            log::warn!("sign-in by providers will fail: {cause}");
        }
        // What is not encrypted goes through nobody's proxy, and needs no authorities.
        let plain = made(Client::builder().no_proxy().tls_certs_only([])).map_err(StartError)?;
        Ok(Self { secure, plain, gates: std::array::from_fn(|_| Gate::new()) })
    }

    /// A client of one provider, for the libraries.
    pub(super) fn of(&self, provider: Provider) -> Caller<'_> {
        Caller { http: self, provider }
    }

    fn gate(&self, provider: Provider) -> &Gate {
        let [google, microsoft, okta] = &self.gates;
        match provider {
            Provider::Google => google,
            Provider::Microsoft => microsoft,
            Provider::Okta => okta,
        }
    }
}

/// Requests to one provider.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    http: &'a Http,
    pub(super) provider: Provider,
}

impl Caller<'_> {
    /// Sends a request and reads the answer. An answer of 4xx is an answer; a
    /// redirect, 429 and 5xx are none.
    ///
    /// # Errors
    /// Unavailable, with the cause.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, OidcError> {
        let away = |cause: String| OidcError::unavailable(self.provider, cause);
        let url = request.uri().to_string();
        let url = safe_url(&url).ok_or_else(|| away("it names an endpoint that is no https URL".to_owned()))?;
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        let _turn = self.http.gate(self.provider).enter().await.map_err(|cause| away(cause.to_owned()))?;
        let client = match &self.http.secure {
            _ if url.scheme() == "http" => &self.http.plain,
            Ok(client) => client,
            Err(cause) => return Err(away(cause.clone())),
        };
        let (head, body) = request.into_parts();
        let sent = client.request(head.method, url).headers(head.headers).body(body).send().await;
        let failed = |error: reqwest::Error| away(format!("{place}: {}", describe(&error.without_url())));
        let mut response = sent.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() || status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(away(format!("{place} answered {status}")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(away(format!("{place} answered more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }

    /// Reads a resource with a token.
    ///
    /// # Errors
    /// The token is rejected, or the provider is unavailable.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &str, token: &SecretString) -> Result<T, OidcError> {
        let request = Request::get(url).header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        self.json(request.body(Vec::new())).await
    }

    /// Asks by a form (RFC 6749 appendix B): what is asked about stands in no URL.
    ///
    /// # Errors
    /// The form is rejected, or the provider is unavailable.
    pub(super) async fn post_form<T: DeserializeOwned>(
        &self,
        url: &str,
        fields: &[(&str, &str)],
    ) -> Result<T, OidcError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.json(request.body(body.into_bytes())).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: Result<HttpRequest, openidconnect::http::Error>,
    ) -> Result<T, OidcError> {
        let away = |cause| OidcError::unavailable(self.provider, cause);
        let answer = self.send(request.map_err(|_| away("a request can't be made"))?).await?;
        if answer.status().is_client_error() {
            return Err(Refusal::RejectedByProvider.into());
        }
        // What can't be read is not repeated: it may speak of a person.
        serde_json::from_slice(answer.body()).map_err(|_| away("its answer can't be read"))
    }
}

impl<'c> AsyncHttpClient<'c> for Caller<'_> {
    type Error = OidcError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, OidcError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Lets a bounded number through, and a bounded number wait.
struct Gate {
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Gate {
    fn new() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), waiting: AtomicUsize::new(0) }
    }

    async fn enter(&self) -> Result<SemaphorePermit<'_>, &'static str> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(turn);
        }
        let _place = Waiting::new(&self.waiting).ok_or("too many wait for it")?;
        self.turns.acquire().await.map_err(|_| "the service stops")
    }
}

/// A place among those who wait, given back also by who gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether tokens and secrets may be sent there: `https`, or `http` on a
/// loopback host; no user part, no fragment.
pub fn is_safe_url(url: &str) -> bool {
    safe_url(url).is_some()
}

fn safe_url(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    (is_plain && is_secure && url.has_host()).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error with its causes.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_http_are_safe() {
        for safe in ["https://a.example", "https://a.example:8443/x?y=z", "http://localhost:1", "http://127.0.0.1/x"] {
            assert!(is_safe_url(safe), "{safe}");
        }
        assert!(is_safe_url("http://[::1]:80/"));
        for unsafe_one in [
            "",
            "a.example",
            "http://a.example",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://127.0.0.1@a.example",
            "https://user@a.example",
            "https://:pw@a.example",
            "https://a.example/#x",
            "ftp://localhost",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(!is_safe_url(unsafe_one), "{unsafe_one}");
        }
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_no_trace() {
        let gate = Gate::new();
        let all = gate.turns.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        let late = tokio::time::timeout(Duration::from_millis(1), gate.enter()).await;
        assert!(late.is_err());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
        gate.waiting.store(MAX_WAITING, Ordering::Relaxed);
        assert!(gate.enter().await.is_err());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), MAX_WAITING);
        drop(all);
        assert!(gate.enter().await.is_ok());
    }
}
