//! What a session remembers of its client.

use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest};

use crate::guard::Origin;

/// The client's address, as the recorder found it.
pub(super) fn address(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<Origin>().and_then(|origin| origin.address).map(|address| address.to_string())
}

/// The client's program, cut at 512 characters.
pub(super) fn user_agent(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::USER_AGENT)?;
    Some(String::from_utf8_lossy(value.as_bytes()).chars().take(512).filter(|c| *c != '\0').collect())
}
