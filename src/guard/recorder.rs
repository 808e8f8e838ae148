//! The outermost middleware: a request id on every answer, a problem's body
//! under that id, and one audit record for every API request, written before
//! the answer leaves.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::{Method, header};
use actix_web::{Error, HttpMessage, HttpResponse};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Ready, ready};
use ipnet::IpNet;
use prometheus::IntCounter;

use super::Requirement;
use super::answer::{foreign, under_id};
use super::loopback::LoopbackOnly;
use super::naming::{Naming, RequestName};
use super::record::{Arrival, Origin, beginning, entry, name_of};
use super::request_id::X_REQUEST_ID;
use super::require::take_required;
use super::unfinished::Unfinished;
use crate::actors::{Begun, JournalError, Rbac, WorkerJournal};
use crate::domain::Policy;
use crate::domain::audit::AuditEntry;
use crate::problem::ApiError;

/// What the recorder is told.
#[derive(Clone)]
pub struct RecorderSettings {
    /// Networks whose word about the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// What requests are called.
    pub naming: Naming,
    /// Where records are appended; without it nothing is recorded.
    pub journal: Option<WorkerJournal>,
    /// With a counter of lost records (`AUDIT_FAIL_OPEN`) a request is answered also where its
    /// record can't be written.
    pub lost: Option<IntCounter>,
    /// False, when no origin is allowed: preflights are refused here.
    pub answers_preflights: bool,
    /// What runs to its end although its client has gone.
    pub unfinished: Unfinished,
    /// Without authentication: who is served at all.
    pub loopback_only: Option<LoopbackOnly>,
}

/// Records requests; the outermost middleware of the app, one for each worker.
#[derive(Clone)]
pub struct Recorder(Rc<Inner>);

struct Inner {
    rbac: Rbac,
    settings: RecorderSettings,
}

impl Recorder {
    /// A route that requires a permission or role that `rbac` does not know stops the start.
    pub fn new(rbac: Rbac, settings: RecorderSettings) -> Self {
        Self(Rc::new(Inner { rbac, settings }))
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
        let mut arrival = Arrival::of(&request, &inner.settings.trusted_proxies);
        if arrival.is_preflight && inner.is_asked_by_a_gateway(&arrival, &request) {
            // It asks with its client's headers: none of them makes a preflight of the question.
            arrival.is_preflight = false;
            request.headers_mut().remove(header::ACCESS_CONTROL_REQUEST_METHOD);
        }
        request.extensions_mut().insert(Origin { address: arrival.ip_address, request_id: arrival.request_id.clone() });
        if !is_registered(&arrival.method) {
            // Any token can be a method: it must not become a metric's label.
            request.head_mut().method = other_method();
        }
        let may_change = !arrival.method.is_safe();
        let service = Rc::clone(&self.service);
        let answering = async move {
            let begun = match inner.refusal(&arrival, &request) {
                Some(refusal) => Err(refusal),
                None if may_change => inner.begin(&arrival, &request).await,
                None => Ok(None),
            };
            let begun = match begun {
                Ok(begun) => begun,
                Err(refusal) => return Ok(inner.answer(&arrival, None, request.error_response(refusal)).await),
            };
            // A handler that panics is answered too, and recorded.
            match AssertUnwindSafe(async { service.call(request).await }).catch_unwind().await {
                Ok(Ok(response)) => Ok(inner.answer(&arrival, begun, response.map_into_boxed_body()).await),
                Ok(Err(error)) => Err(inner.answer_error(&arrival, begun, &error).await),
                Err(_) => {
                    let panicked = ApiError::Internal("the handler panicked".into()).into();
                    Err(inner.answer_error(&arrival, begun, &panicked).await)
                }
            }
        };
        if may_change {
            // The server drops what it answers when the client goes away: what has begun to change
            // something runs to its end all the same, and is recorded.
            let seen_through = self.inner.settings.unfinished.see_through(answering);
            return Box::pin(async move {
                seen_through
                    .await
                    .unwrap_or_else(|error| Err(ApiError::Internal(format!("a request failed: {error}")).into()))
            });
        }
        Box::pin(answering)
    }
}

impl Inner {
    /// Why the request is not handled at all.
    fn refusal(&self, arrival: &Arrival, request: &ServiceRequest) -> Option<ApiError> {
        let settings = &self.settings;
        let is_writable = settings.journal.as_ref().is_none_or(WorkerJournal::is_writable) || settings.lost.is_some();
        if !is_writable && self.is_recorded(arrival, request) {
            return Some(ApiError::Unavailable("the audit journal can't be written".into()));
        }
        if let Some(only) = &settings.loopback_only
            && let Err(refusal) = only.check(&arrival.method, request.headers())
        {
            return Some(refusal);
        }
        (arrival.is_preflight && !settings.answers_preflights).then_some(ApiError::OriginNotAllowed)
    }

    fn is_recorded(&self, arrival: &Arrival, request: &ServiceRequest) -> bool {
        !arrival.is_preflight && name_of(&self.settings.naming, arrival, Some(request.request())).action.is_some()
    }

    fn is_asked_by_a_gateway(&self, arrival: &Arrival, request: &ServiceRequest) -> bool {
        name_of(&self.settings.naming, arrival, Some(request.request())).action.as_deref() == Some("VERIFY")
    }

    /// Says in the journal that a change begins, which is recorded thereby even where the process ends in the middle.
    /// What can't be recorded does not begin.
    async fn begin(&self, arrival: &Arrival, request: &ServiceRequest) -> Result<Option<Beginning>, ApiError> {
        let Some(journal) = &self.settings.journal else { return Ok(None) };
        let name = name_of(&self.settings.naming, arrival, Some(request.request()));
        if name.is_question() {
            return Ok(None);
        }
        let path = request.match_info().as_str();
        let Some(written) = beginning(arrival, &name, path).map(|entry| journal.begin(&entry)) else {
            return Ok(None);
        };
        match written.await {
            Ok(begun) => Ok(Some(Beginning { begun, name })),
            // Its record may come through, or is counted as lost.
            Err(_) if self.settings.lost.is_some() => Ok(None),
            Err(error) => {
                log::error!("[{}] refused, for it can't be recorded: {error}", arrival.request_id);
                Err(ApiError::Unavailable("the audit journal can't be written".into()))
            }
        }
    }

    /// The answer as it leaves: once it is recorded, under the request's id.
    async fn answer(
        &self,
        arrival: &Arrival,
        beginning: Option<Beginning>,
        response: ServiceResponse,
    ) -> ServiceResponse {
        let begun = beginning.map(|beginning| beginning.begun);
        let mut response = under_id(response, &arrival.request_id, arrival.is_preflight);
        let written = {
            let request = response.request();
            let name = name_of(&self.settings.naming, arrival, Some(request));
            let extensions = request.extensions();
            let status = response.status().as_u16();
            let told = Some((request, &*extensions));
            entry(arrival, &name, status, told, &self.settings.trusted_proxies).map(|entry| self.append(&entry, begun))
        };
        if let Err(refusal) = self.recorded(arrival, written).await {
            response = response.into_response(refusal.response(arrival.request_id.as_str()));
        }
        if let Some(value) = arrival.request_id.header() {
            response.headers_mut().insert(X_REQUEST_ID.clone(), value);
        }
        response
    }

    /// The same for what some middleware of the app failed with, and took the request along.
    async fn answer_error(&self, arrival: &Arrival, beginning: Option<Beginning>, error: &Error) -> Error {
        let problem = foreign(error.as_response_error().status_code(), error);
        if let Some(cause) = problem.cause() {
            log::error!("[{}] {} {}: {cause}", arrival.request_id, arrival.method, arrival.uri.path());
        }
        let (begun, name) = match beginning {
            Some(Beginning { begun, name }) => (Some(begun), name),
            None => (None, name_of(&self.settings.naming, arrival, None)),
        };
        let entry = entry(arrival, &name, problem.status().as_u16(), None, &self.settings.trusted_proxies);
        let recorded = self.recorded(arrival, entry.map(|entry| self.append(&entry, begun))).await;
        let mut response: HttpResponse = recorded.err().unwrap_or(problem).response(arrival.request_id.as_str());
        if let Some(value) = arrival.request_id.header() {
            response.headers_mut().insert(X_REQUEST_ID.clone(), value);
        }
        InternalError::from_response("a middleware failed", response).into()
    }

    fn append(
        &self,
        entry: &AuditEntry<'_>,
        begun: Option<Begun>,
    ) -> Option<impl Future<Output = Result<(), JournalError>> + use<>> {
        let written = self.settings.journal.as_ref()?.append(entry, begun);
        Some(async move { written.await.map(drop) })
    }

    /// Waits until the record is written. Without `AUDIT_FAIL_OPEN` there is no answer without it.
    async fn recorded(
        &self,
        arrival: &Arrival,
        written: Option<Option<impl Future<Output = Result<(), JournalError>>>>,
    ) -> Result<(), ApiError> {
        let Some(written) = written.flatten() else { return Ok(()) };
        let Err(error) = written.await else { return Ok(()) };
        log::error!("[{}] the audit record can't be written: {error}", arrival.request_id);
        match &self.settings.lost {
            Some(lost) => {
                lost.inc();
                Ok(())
            }
            None => Err(ApiError::Unavailable("the audit record can't be written".into())),
        }
    }
}

/// What was said to begin, and what it was called.
struct Beginning {
    begun: Begun,
    name: RequestName,
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
