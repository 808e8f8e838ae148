//! A request's audit record: what was known when it came, what the caller's
//! principal and the handler's note say, and how it was answered.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use actix_web::HttpMessage;
use actix_web::HttpRequest;
use actix_web::dev::{Extensions, ServiceRequest};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Uri};
use ipnet::IpNet;

use super::naming::{Naming, RequestName};
use super::note::AuditNote;
use super::request_id::RequestId;
use super::{Principal, client};
use crate::domain::audit::{AuditEntry, Outcome, Source, metadata_text};
use crate::domain::{canonical, redact};

/// What of a request has to be known before it is handled.
pub(super) struct Arrival {
    pub(super) started: Instant,
    pub(super) request_id: RequestId,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) is_preflight: bool,
    pub(super) ip_address: Option<IpAddr>,
}

/// Where the request comes from (see [`client::address`]), and its id; for handlers.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) address: Option<IpAddr>,
    pub(super) request_id: RequestId,
}

impl RequestId {
    /// The one that a request came with, or was given.
    pub(crate) fn of_request(request: &impl HttpMessage) -> Option<Self> {
        request.extensions().get::<Origin>().map(|origin| origin.request_id.clone())
    }
}

impl Arrival {
    pub(super) fn of(request: &ServiceRequest, trusted_proxies: &[IpNet]) -> Self {
        Self {
            started: Instant::now(),
            request_id: RequestId::of(request.headers()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            is_preflight: is_preflight(request),
            ip_address: client::address(request, trusted_proxies),
        }
    }
}

/// Fetch: a preflight has these three. Only what is one is left unrecorded, so this is no wider than
/// what the CORS middleware takes for one.
fn is_preflight(request: &ServiceRequest) -> bool {
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && wanted.is_some_and(|method| Method::from_bytes(method.as_bytes()).is_ok())
}

/// What the request is called: by its path as the router reads it (`%61dmin` is `admin`).
pub(super) fn name_of(naming: &Naming, arrival: &Arrival, request: Option<&HttpRequest>) -> RequestName {
    match request {
        Some(request) => {
            let path = request.match_info().as_str();
            naming.name(&arrival.method, path, || request.resource_map().match_pattern(path))
        }
        None => naming.name(&arrival.method, arrival.uri.path(), || None),
    }
}

/// The record of an answered request; `None` where it is not recorded. `told` is absent where the
/// request was lost on the way.
pub(super) fn entry<'a>(
    arrival: &'a Arrival,
    name: &'a RequestName,
    status: u16,
    told: Option<(&'a HttpRequest, &'a Extensions)>,
    trusted_proxies: &[IpNet],
) -> Option<AuditEntry<'a>> {
    let action = name.action.as_deref().filter(|_| !arrival.is_preflight)?;
    let principal = told.and_then(|(_, extensions)| extensions.get::<Principal>());
    let note = told.and_then(|(_, extensions)| extensions.get::<AuditNote>());
    let noted_user = note.and_then(|note| note.user.as_ref());
    let user_id = noted_user.map(|(id, _)| *id).or_else(|| principal.map(Principal::id));
    let username = noted_user.map(|(_, name)| name).or_else(|| principal.map(Principal::username));
    let resource_type = note.and_then(|note| note.resource_type.as_deref()).or(name.resource_type.as_deref());
    let noted_id = note.and_then(|note| note.resource_id.as_deref());
    let resource_id = noted_id.or_else(|| told.and_then(|(request, _)| id_in_path(request, name)));
    Some(AuditEntry {
        user_id,
        username: username.map(|name| Cow::Borrowed(&**name)),
        action: Cow::Borrowed(note.and_then(|note| note.action.as_deref()).unwrap_or(action)),
        resource_type: resource_type.map(Cow::Borrowed),
        resource_id: resource_id.map(|id| bounded(id, 256)).map(canonical),
        ip_address: arrival.ip_address,
        user_agent: arrival.user_agent.as_ref().map(user_agent),
        request_method: Some(bounded(arrival.method.as_str(), 64)),
        request_path: Some(bounded(arrival.uri.path(), 2048)),
        response_status: Some(status),
        outcome: Outcome::of_status(status),
        duration_ms: u32::try_from(arrival.started.elapsed().as_millis()).unwrap_or(u32::MAX),
        request_id: Some(arrival.request_id.redacted()),
        metadata: metadata(told.map(|(request, _)| request), note, action, trusted_proxies),
        source: if note.is_some_and(|note| note.is_event) { Source::Event } else { Source::Request },
    })
}

/// What of the record is known before the request is handled; `None` where it is not recorded. `path` is the router's.
pub(super) fn beginning<'a>(arrival: &'a Arrival, name: &'a RequestName, path: &'a str) -> Option<AuditEntry<'a>> {
    Some(AuditEntry {
        user_id: None,
        username: None,
        resource_id: name.id_in(path).map(|id| bounded(id, 256)).map(canonical),
        response_status: None,
        outcome: Outcome::Error,
        duration_ms: 0,
        metadata: None,
        // No status that the handler gives, and so none that says anything.
        ..entry(arrival, name, 500, None, &[])?
    })
}

/// The variable of the path that names the resource.
fn id_in_path<'a>(request: &'a HttpRequest, name: &RequestName) -> Option<&'a str> {
    let path = request.match_info();
    match &name.resource_variable {
        Some(variable) => path.get(variable),
        None => name.resource_type.as_deref().and_then(|kind| path.get("id").or_else(|| path.get(kind))),
    }
}

/// The note's metadata; for a gateway's question also what it asks about.
fn metadata(
    request: Option<&HttpRequest>,
    note: Option<&AuditNote>,
    action: &str,
    trusted_proxies: &[IpNet],
) -> Option<Cow<'static, str>> {
    let mut metadata = note.map(|note| note.metadata.clone()).unwrap_or_default();
    if let Some(request) = request.filter(|_| action == "VERIFY")
        && client::is_trusted(request.head().peer_addr, trusted_proxies)
    {
        let (method, path) = client::original_request(request.headers());
        for (key, value) in [("original_method", method), ("original_path", path)] {
            if let Some(value) = value {
                metadata.insert(key.to_owned(), value.into());
            }
        }
    }
    metadata_text(metadata).map(Cow::Owned)
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
pub(super) fn user_agent(value: &HeaderValue) -> Cow<'_, str> {
    match String::from_utf8_lossy(value.as_bytes()) {
        Cow::Borrowed(text) => bounded(text, 512),
        Cow::Owned(text) => Cow::Owned(bounded(&text, 512).into_owned()),
    }
}
