//! The outermost middleware: a request id on every answer, a problem's body
//! under that id, and one audit record for every API request, written before
//! the answer leaves.

use std::borrow::Cow;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{Error, HttpMessage, HttpResponse};
use futures_util::future::{LocalBoxFuture, Ready, ready};
use ipnet::IpNet;
use prometheus::IntCounter;

use super::client;
use super::naming::Naming;
use super::note::AuditNote;
use super::request_id::{RequestId, X_REQUEST_ID};
use super::require::take_required;
use super::{Principal, Requirement};
use crate::actors::{JournalError, Rbac, WorkerJournal};
use crate::domain::audit::{AuditEntry, Outcome, Source};
use crate::domain::{Policy, RecordId, redact};
use crate::problem::ApiError;

/// Records requests; the outermost middleware of the app, one for each worker.
#[derive(Clone)]
pub struct Recorder(Rc<Inner>);

struct Inner {
    rbac: Rbac,
    trusted_proxies: Vec<IpNet>,
    naming: Naming,
    journal: Option<WorkerJournal>,
    lost: Option<IntCounter>,
    answers_preflights: bool,
}

impl Recorder {
    /// Names records by `naming` and appends them to `journal`; without a
    /// journal nothing is recorded. With a counter of `lost` records
    /// (`AUDIT_FAIL_OPEN`) a request is answered also where its record can't be written.
    /// Without `answers_preflights`, when no origin is allowed, preflights are refused here.
    /// A route that requires a permission or role that `rbac` does not know stops the start.
    pub fn new(
        rbac: Rbac,
        trusted_proxies: Vec<IpNet>,
        naming: Naming,
        journal: Option<WorkerJournal>,
        lost: Option<IntCounter>,
        answers_preflights: bool,
    ) -> Self {
        Self(Rc::new(Inner { rbac, trusted_proxies, naming, journal, lost, answers_preflights }))
    }
}

impl<S, B> Transform<S, ServiceRequest> for Recorder
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = RecorderService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        // The outermost middleware is made last: all routes are there.
        for requirement in take_required() {
            if let Some(unknown) = unknown(&requirement, &self.0.rbac.policy()) {
                log::error!("a route requires {unknown}, which there is not: a typo, or something to be created first");
                return ready(Err(()));
            }
        }
        ready(Ok(RecorderService { service: Rc::new(service), inner: Rc::clone(&self.0) }))
    }
}

/// The first name in a requirement that stands for nothing.
fn unknown(requirement: &Requirement, policy: &Policy) -> Option<String> {
    requirement.leaves().into_iter().find_map(|leaf| match leaf {
        Requirement::Permission(name) => policy.permission(name).is_none().then(|| format!("the permission {name}")),
        Requirement::Role(name) => policy.role(name).is_none().then(|| format!("the role {name}")),
        Requirement::Authentication | Requirement::Any(_) | Requirement::All(_) => None,
    })
}

/// [`Recorder`] around a service.
pub struct RecorderService<S> {
    service: Rc<S>,
    inner: Rc<Inner>,
}

/// What of a request has to be known before it is handled.
struct Arrival {
    started: Instant,
    request_id: RequestId,
    method: Method,
    is_preflight: bool,
    ip_address: Option<std::net::IpAddr>,
}

impl<S, B> Service<ServiceRequest> for RecorderService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&self, ctx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(ctx)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let inner = Rc::clone(&self.inner);
        let arrival = Arrival {
            started: Instant::now(),
            request_id: RequestId::of(request.headers()),
            method: request.method().clone(),
            is_preflight: is_preflight(&request),
            ip_address: client::address(&request, &inner.trusted_proxies),
        };
        request.extensions_mut().insert(Origin { address: arrival.ip_address, request_id: arrival.request_id.clone() });
        if !is_registered(&arrival.method) {
            // Any token can be a method: it must not become a metric's label.
            request.head_mut().method = other_method();
        }
        let is_refused = inner.journal.as_ref().is_some_and(|journal| !journal.is_writable()) && inner.lost.is_none();
        let service = Rc::clone(&self.service);
        Box::pin(async move {
            let response = if is_refused && inner.is_recorded(&arrival, &request) {
                request.error_response(ApiError::Unavailable("the audit journal can't be written".into()))
            } else if arrival.is_preflight && !inner.answers_preflights {
                request.error_response(ApiError::OriginNotAllowed)
            } else {
                service.call(request).await?.map_into_boxed_body()
            };
            let mut response = with_request_id(response, &arrival);
            if let Err(error) = inner.record(&arrival, &response).await {
                log::error!("[{}] the audit record can't be written: {error}", arrival.request_id);
                if let Some(lost) = &inner.lost {
                    lost.inc();
                } else {
                    let refusal = ApiError::Unavailable("the audit record can't be written".into());
                    response = with_request_id(response.into_response(HttpResponse::from_error(refusal)), &arrival);
                }
            }
            if let Some(value) = arrival.request_id.header() {
                response.headers_mut().insert(X_REQUEST_ID.clone(), value);
            }
            Ok(response)
        })
    }
}

/// Where the request comes from (see [`client::address`]), and its id; for handlers.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) address: Option<std::net::IpAddr>,
    pub(super) request_id: RequestId,
}

impl Inner {
    fn is_recorded(&self, arrival: &Arrival, request: &ServiceRequest) -> bool {
        let name = self.naming.name(&arrival.method, request.path(), || request.match_pattern());
        !arrival.is_preflight && name.action.is_some()
    }

    /// Appends the record of an answered request, and waits until it is written.
    async fn record(&self, arrival: &Arrival, response: &ServiceResponse) -> Result<(), JournalError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let request = response.request();
        let name = self.naming.name(&arrival.method, request.path(), || request.match_pattern());
        let Some(action) = name.action.as_deref() else { return Ok(()) };
        if arrival.is_preflight {
            return Ok(());
        }
        let written = {
            let extensions = request.extensions();
            let principal = extensions.get::<Principal>();
            let note = extensions.get::<AuditNote>();
            let noted_user = note.and_then(|note| note.user.as_ref());
            let user_id = noted_user.map(|(id, _)| *id).or_else(|| principal.map(Principal::id));
            let username = noted_user.map(|(_, name)| name).or_else(|| principal.map(Principal::username));
            let status = response.status().as_u16();
            let resource_type = note.and_then(|note| note.resource_type.as_deref()).or(name.resource_type.as_deref());
            let resource_id = match note.and_then(|note| note.resource_id.as_deref()) {
                Some(id) => Some(id),
                None => {
                    let path = request.match_info();
                    match &name.resource_variable {
                        Some(variable) => path.get(variable),
                        None => {
                            name.resource_type.as_deref().and_then(|kind| path.get("id").or_else(|| path.get(kind)))
                        }
                    }
                }
            };
            journal.append(&AuditEntry {
                user_id,
                username: username.map(|name| Cow::Borrowed(&**name)),
                action: Cow::Borrowed(note.and_then(|note| note.action.as_deref()).unwrap_or(action)),
                resource_type: resource_type.map(Cow::Borrowed),
                resource_id: resource_id.map(|id| bounded(id, 256)).map(one_spelling),
                ip_address: arrival.ip_address,
                user_agent: user_agent(request.headers()),
                request_method: Some(bounded(arrival.method.as_str(), 64)),
                request_path: Some(bounded(request.path(), 2048)),
                response_status: Some(status),
                outcome: Outcome::of_status(status),
                duration_ms: u32::try_from(arrival.started.elapsed().as_millis()).unwrap_or(u32::MAX),
                request_id: Some(arrival.request_id.redacted()),
                metadata: self.metadata(request, note, action),
                source: if note.is_some_and(|note| note.is_event) { Source::Event } else { Source::Request },
            })
        };
        written.await.map(|_| ())
    }

    /// The note's metadata; for a gateway's question also what it asks about.
    fn metadata(
        &self,
        request: &actix_web::HttpRequest,
        note: Option<&AuditNote>,
        action: &str,
    ) -> Option<Cow<'static, str>> {
        let mut metadata = note.map(|note| note.metadata.clone()).unwrap_or_default();
        let is_trusted = || client::is_trusted(request.head().peer_addr, &self.trusted_proxies);
        if action == "VERIFY" && is_trusted() {
            let (method, path) = client::original_request(request.headers());
            for (key, value) in [("original_method", method), ("original_path", path)] {
                if let Some(value) = value {
                    metadata.insert(key.to_owned(), value.into());
                }
            }
        }
        if metadata.is_empty() {
            return None;
        }
        let text = serde_json::to_string(&metadata).ok()?;
        Some(Cow::Owned(redact(&text).into_owned()))
    }
}

/// Ids are recorded in lower case, however they were asked for: a search is exact.
fn one_spelling(id: Cow<'_, str>) -> Cow<'_, str> {
    if id.bytes().any(|b| b.is_ascii_uppercase()) && id.parse::<RecordId>().is_ok() {
        return Cow::Owned(id.to_ascii_lowercase());
    }
    id
}

/// Cut to so many characters, without what looks like a token.
/// A NUL, which PostgreSQL does not store, becomes U+FFFD.
pub(super) fn bounded(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.contains('\0') {
        return Cow::Owned(bounded(&text.replace('\0', "\u{FFFD}"), max_chars).into_owned());
    }
    // A token that the cut would shorten has to be seen whole.
    match redact(text) {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, max_chars)),
        Cow::Owned(text) => Cow::Owned(cut(&text, max_chars).to_owned()),
    }
}

fn cut(text: &str, max_chars: usize) -> &str {
    // No character is shorter than a byte.
    if text.len() <= max_chars {
        return text;
    }
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

/// Cut at 512 characters.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    Some(match String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes()) {
        Cow::Borrowed(text) => bounded(text, 512),
        Cow::Owned(text) => Cow::Owned(bounded(&text, 512).into_owned()),
    })
}

/// Fetch: a preflight has these three.
fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn is_registered(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ]
    .contains(method)
}

fn other_method() -> Method {
    Method::from_bytes(b"OTHER").unwrap_or(Method::TRACE)
}

/// An error's body under the request's id; its cause goes to the log, once.
fn with_request_id(response: ServiceResponse, arrival: &Arrival) -> ServiceResponse {
    let request_id = &arrival.request_id;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = match response.response().error() {
        // The CORS middleware's own answer.
        _ if arrival.is_preflight => ApiError::OriginNotAllowed,
        Some(error) => error.as_error::<ApiError>().cloned().unwrap_or_else(|| foreign(status, &error.to_string())),
        // The handler's own answer, as the health check's.
        None if response.headers().contains_key(header::CONTENT_TYPE) => return response,
        None => foreign(status, "no body"),
    };
    if let Some(cause) = problem.cause() {
        log::error!("[{request_id}] {} {}: {cause}", response.request().method(), response.request().path());
    }
    let answer = problem.response(request_id.as_str());
    // What the inner middleware added, as CORS headers, stays.
    let kept: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("access-control-") || **name == header::VARY)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut response = response.into_response(answer);
    for (name, value) in kept {
        response.headers_mut().append(name, value);
    }
    response
}

/// An error of the framework in our words.
fn foreign(status: StatusCode, cause: &str) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => ApiError::NotFound("Not found"),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed(String::new()),
        StatusCode::REQUEST_TIMEOUT => ApiError::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(0),
        status if status.is_client_error() => ApiError::BadRequest(cause.to_owned()),
        _ => ApiError::Internal(cause.to_owned()),
    }
}
