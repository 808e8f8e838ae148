//! Errors as they leave: every one a problem under its request's id, those of
//! the framework and of a host application's extractors too.

use actix_web::dev::ServiceResponse;
use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{Error, ResponseError};

use super::request_id::RequestId;
use crate::domain::{FieldCode, FieldError};
use crate::problem::ApiError;

/// An error's body under the request's id; its cause goes to the log, once.
pub(super) fn under_id(response: ServiceResponse, request_id: &RequestId, is_preflight: bool) -> ServiceResponse {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = match response.response().error() {
        // The CORS middleware's own answer.
        _ if is_preflight => ApiError::OriginNotAllowed,
        Some(error) => foreign(status, error),
        // The handler's own answer, as the health check's.
        None if response.headers().contains_key(header::CONTENT_TYPE) => return response,
        None => of_status(status, "no body".to_owned()),
    };
    if let Some(cause) = problem.cause() {
        log::error!("[{request_id}] {} {}: {cause}", response.request().method(), response.request().path());
    }
    let answer = problem.response(request_id.as_str());
    // What the inner middleware added, as CORS headers, stays, and what only the router knows.
    let is_kept = |name: &HeaderName| {
        name.as_str().starts_with("access-control-") || [header::VARY, header::ALLOW].contains(name)
    };
    let kept: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| is_kept(name) && !answer.headers().contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut response = response.into_response(answer);
    for (name, value) in kept {
        response.headers_mut().append(name, value);
    }
    response
}

/// An error in our words: our own as it is, others by what they are or by their status.
pub(super) fn foreign(status: StatusCode, error: &Error) -> ApiError {
    if let Some(own) = error.as_error::<ApiError>() {
        return own.clone();
    }
    match error.as_error::<JsonPayloadError>() {
        Some(error) => of_json(error),
        None => of_status(status, error.to_string()),
    }
}

/// What `web::Json` of a host application's handler refuses.
fn of_json(error: &JsonPayloadError) -> ApiError {
    match error {
        JsonPayloadError::ContentType => ApiError::UnsupportedMediaType("application/json"),
        JsonPayloadError::Overflow { limit } | JsonPayloadError::OverflowKnownLength { limit, .. } => {
            ApiError::TooLarge(*limit)
        }
        JsonPayloadError::Deserialize(fault) if fault.is_data() => {
            // The fault's own text would repeat the value.
            let message = format!("A field is missing or of another type, by line {}", fault.line());
            ApiError::field(FieldError::new("body", FieldCode::WrongType, message))
        }
        JsonPayloadError::Deserialize(fault) => {
            ApiError::MalformedJson(format!("The body is not JSON at line {}, column {}", fault.line(), fault.column()))
        }
        other => of_status(other.status_code(), other.to_string()),
    }
}

fn of_status(status: StatusCode, cause: String) -> ApiError {
    match status {
        StatusCode::UNAUTHORIZED => ApiError::NotAuthenticated,
        StatusCode::NOT_FOUND => ApiError::NotFound("Not found"),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed(String::new()),
        StatusCode::REQUEST_TIMEOUT => ApiError::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(0),
        status if status.is_client_error() => ApiError::BadRequest(cause),
        _ => ApiError::Internal(cause),
    }
}
