//! The audit log, as handlers and other code of a host application write to it.

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use serde_json::Value;

use super::Principal;
use super::record::{Origin, bounded, user_agent};
use crate::actors::Audit;
use crate::domain::audit::{AuditEntry, Outcome, Source, metadata_text};
use crate::domain::{CustomEvent, UserId};
use crate::problem::ApiError;

/// Something that happened in the host application.
///
/// ```
/// use portcullis::guard::AuditEvent;
///
/// let event = AuditEvent::custom("CUSTOM_ACTION").resource("project", 42).metadata("custom_field", "value");
/// ```
#[derive(Debug, Clone)]
#[must_use = "an event is recorded by AuditLog::log"]
pub struct AuditEvent {
    event: CustomEvent,
    by: Option<(UserId, Arc<str>)>,
    outcome: Outcome,
}

impl AuditEvent {
    /// An action of the application: 1 to 64 of `A-Z a-z 0-9 _ . : -`, none of the service's own.
    pub fn custom(action: impl Into<String>) -> Self {
        let event = CustomEvent { action: action.into(), ..CustomEvent::default() };
        Self { event, by: None, outcome: Outcome::Success }
    }

    /// Who did it.
    pub fn by(mut self, principal: &Principal) -> Self {
        self.by = Some((principal.id(), Arc::clone(principal.username())));
        self
    }

    /// What it was done to.
    pub fn resource(mut self, kind: impl Into<String>, id: impl ToString) -> Self {
        self.event.resource_type = Some(kind.into());
        self.event.resource_id = Some(id.to_string());
        self
    }

    /// Something else worth knowing; at most 8 KiB of JSON in all. Never a secret.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.event.metadata.insert(key.into(), value.into());
        self
    }

    /// How it ended; `Success` where that is not said.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }
}

/// Writes events. As a handler's argument it puts the request's id and address
/// into each; [`Portcullis::audit_log`](crate::app::Portcullis::audit_log)
/// gives one for code that serves no request.
#[derive(Clone)]
pub struct AuditLog {
    /// `None`: `ENABLE_AUDIT_LOGGING=false`.
    audit: Option<Audit>,
    request: Option<Request>,
}

/// The request in which an event happened.
#[derive(Clone)]
struct Request {
    request_id: Option<String>,
    ip_address: Option<IpAddr>,
    user_agent: Option<String>,
    method: String,
    path: String,
}

impl AuditLog {
    /// Writes to the given log; without one, nothing is recorded.
    pub fn new(audit: Option<Audit>) -> Self {
        Self { audit, request: None }
    }

    /// Records an event, beside the record of the request. Done when it is in the journal.
    ///
    /// # Errors
    /// 422 for what an event may not say, as the service's own actions; 503
    /// where the journal can't be written.
    pub async fn log(&self, event: AuditEvent) -> Result<(), ApiError> {
        event.event.validate().map_err(ApiError::Validation)?;
        let Some(audit) = &self.audit else { return Ok(()) };
        let CustomEvent { action, resource_type, resource_id, metadata } = event.event;
        let (user_id, username) = event.by.unzip();
        let request = self.request.clone();
        let request = request.as_ref();
        Ok(audit
            .log(AuditEntry {
                user_id,
                username: username.map(|name| Cow::Owned(name.to_string())),
                action: Cow::Owned(action),
                resource_type: resource_type.map(Cow::Owned),
                resource_id: resource_id.map(|id| Cow::Owned(bounded(&id, 256).into_owned())),
                ip_address: request.and_then(|request| request.ip_address),
                user_agent: request.and_then(|request| request.user_agent.clone()).map(Cow::Owned),
                request_method: request.map(|request| Cow::Owned(request.method.clone())),
                request_path: request.map(|request| Cow::Owned(request.path.clone())),
                response_status: None,
                outcome: event.outcome,
                duration_ms: 0,
                request_id: request.and_then(|request| request.request_id.clone()).map(Cow::Owned),
                metadata: metadata_text(metadata).map(Cow::Owned),
                source: Source::Event,
            })
            .await?)
    }
}

impl FromRequest for AuditLog {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(log) = request.app_data::<web::Data<Self>>() else {
            return ready(Err(ApiError::Internal("the app has no web::Data<AuditLog>".into())));
        };
        let extensions = request.extensions();
        let origin = extensions.get::<Origin>();
        let request = Request {
            request_id: origin.map(|origin| origin.request_id.redacted().into_owned()),
            ip_address: origin.and_then(|origin| origin.address),
            user_agent: request.headers().get(header::USER_AGENT).map(|value| user_agent(value).into_owned()),
            method: bounded(request.method().as_str(), 64).into_owned(),
            path: bounded(request.path(), 2048).into_owned(),
        };
        ready(Ok(Self { audit: log.audit.clone(), request: Some(request) }))
    }
}
