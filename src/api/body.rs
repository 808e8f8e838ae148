//! Bodies: JSON objects of at most 64 KiB, and for sign-in also forms.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Services;
use crate::domain::{FieldCode, FieldError};
use crate::problem::ApiError;

/// The greatest body, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A JSON object as a handler's argument.
pub(super) struct Json<T>(pub(super) T);

/// A JSON object or a form of the same fields (as OAuth2 password clients send it).
pub(super) struct JsonOrForm<T>(pub(super) T);

/// A JSON object, or no body at all.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            if content_type(&request) != "application/json" {
                return Err(ApiError::UnsupportedMediaType("application/json"));
            }
            parse_json(&read(&request, payload).await?).map(Self)
        })
    }
}

impl<T: DeserializeOwned> FromRequest for JsonOrForm<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            match content_type(&request).as_str() {
                "application/json" => parse_json(&read(&request, payload).await?).map(Self),
                "application/x-www-form-urlencoded" => parse_form(&read(&request, payload).await?).map(Self),
                _ => Err(ApiError::UnsupportedMediaType("application/json or application/x-www-form-urlencoded")),
            }
        })
    }
}

impl<T: DeserializeOwned> FromRequest for OptionalJson<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read(&request, payload).await?;
            match content_type(&request).as_str() {
                _ if body.is_empty() => Ok(Self(None)),
                "application/json" => parse_json(&body).map(|value| Self(Some(value))),
                _ => Err(ApiError::UnsupportedMediaType("application/json")),
            }
        })
    }
}

fn content_type(request: &HttpRequest) -> String {
    request.content_type().trim().to_ascii_lowercase()
}

/// How long a body that is not read on is held.
const HOLD: Duration = Duration::from_secs(1);

/// Reads a body within its bounds of size and time; no further than the bound.
async fn read(request: &HttpRequest, mut payload: Payload) -> Result<Vec<u8>, ApiError> {
    let body = read_within(request, &mut payload).await;
    if body.is_err() {
        // The server closes a connection whose body somebody still holds; of
        // one that was let go it would go on to read whatever comes.
        actix_web::rt::spawn(async move {
            tokio::time::sleep(HOLD).await;
            drop(payload);
        });
    }
    body
}

async fn read_within(request: &HttpRequest, payload: &mut Payload) -> Result<Vec<u8>, ApiError> {
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::TooLarge(MAX_BODY_BYTES));
    }
    let patience = request
        .app_data::<web::Data<Services>>()
        .map_or(Duration::from_secs(30), |services| services.settings.request_timeout);
    let body = async {
        let mut body = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| ApiError::BadRequest(format!("The body can't be read: {error}")))?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(ApiError::TooLarge(MAX_BODY_BYTES));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    tokio::time::timeout(patience, body).await.map_err(|_| ApiError::RequestTimeout)?
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ApiError::MalformedJson(format!("The body is not UTF-8 at byte {}", error.valid_up_to())))?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        ApiError::MalformedJson(format!("The body is not JSON at line {}, column {}", error.line(), error.column()))
    })?;
    if !value.is_object() {
        return Err(ApiError::field(FieldError::new("body", FieldCode::WrongType, "The body must be a JSON object")));
    }
    from_value(value)
}

fn parse_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut object = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        // The parser would put U+FFFD for bytes that are no UTF-8.
        if name.contains('\u{FFFD}') || value.contains('\u{FFFD}') {
            return Err(ApiError::MalformedJson("The form is not UTF-8".into()));
        }
        let name = name.into_owned();
        if object.contains_key(&name) {
            return Err(ApiError::field(FieldError::new(name, FieldCode::Repeated, "Given more often than once")));
        }
        object.insert(name, Value::String(value.into_owned()));
    }
    from_value(Value::Object(object))
}

/// Types and presence of the fields; the message never repeats a value.
fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let join = |name: &str| if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        ApiError::field(match missing {
            Some(name) => FieldError::new(join(name), FieldCode::Required, "Field required"),
            None => {
                let expected = message.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
                FieldError::new(path, FieldCode::WrongType, format!("Expected {expected}"))
            }
        })
    })
}

/// For a field that can be absent, null or a value: `Some(None)` is null.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

use serde::Deserialize as _;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Login {
        username: String,
        #[serde(default, deserialize_with = "nullable")]
        full_name: Option<Option<String>>,
    }

    fn refusal(body: &str) -> (String, FieldCode) {
        match parse_json::<Login>(body.as_bytes()).unwrap_err() {
            ApiError::Validation(errors) => (errors[0].field.clone(), errors[0].code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_json_is_told_apart_from_what_has_the_wrong_type() {
        assert!(matches!(parse_json::<Login>(b"{\"username\":"), Err(ApiError::MalformedJson(_))));
        assert!(matches!(parse_json::<Login>(b"\xff"), Err(ApiError::MalformedJson(_))));
        assert!(matches!(parse_json::<Login>(b""), Err(ApiError::MalformedJson(_))));
        assert_eq!(refusal("[\"bob\"]"), ("body".into(), FieldCode::WrongType));
        assert_eq!(refusal("{\"username\": 5}"), ("username".into(), FieldCode::WrongType));
        assert_eq!(refusal("{}"), ("username".into(), FieldCode::Required));
    }

    #[test]
    fn a_wrong_value_is_not_repeated() {
        let error = parse_json::<Login>(b"{\"username\": 1234567890}").unwrap_err();
        assert!(!format!("{error:?}").contains("1234567890"), "{error:?}");
    }

    #[test]
    fn null_is_told_apart_from_absent() {
        let parse = |body: &str| parse_json::<Login>(body.as_bytes()).unwrap();
        assert_eq!(parse("{\"username\":\"a\"}").full_name, None);
        assert_eq!(parse("{\"username\":\"a\",\"full_name\":null}").full_name, Some(None));
        assert_eq!(parse("{\"username\":\"a\",\"full_name\":\"b\"}").username, "a");
    }
}
