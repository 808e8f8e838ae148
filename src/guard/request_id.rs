//! The id of a request: the caller's where it is a decent one, else our own.

use std::fmt;
use std::rc::Rc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::redact;

/// The header's name.
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: 1..=128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Rc<str>);

impl RequestId {
    /// The caller's `X-Request-Id`, if there is one and it is decent, else a fresh UUIDv7.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&X_REQUEST_ID).and_then(|value| value.to_str().ok());
        match given {
            Some(given) if (1..=128).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_graphic()) => {
                Self(given.into())
            }
            _ => {
                let mut buffer = uuid::Uuid::encode_buffer();
                Self((&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer)).into())
            }
        }
    }

    /// As in the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As in the audit log: without what looks like a token.
    pub(super) fn redacted(&self) -> std::borrow::Cow<'_, str> {
        redact(&self.0)
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
