//! Bodies: JSON objects of at most 64 KiB, and for sign-in also forms.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
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

/// Types and presence of the fields.
///
/// Reading stops at the first fault; a field that is missing gets a stand-in and the object is read
/// again, so that all that are missing are told at once.
fn from_value<T: DeserializeOwned>(mut value: Value) -> Result<T, ApiError> {
    let mut missing: Vec<FieldError> = Vec::new();
    loop {
        let fault = match serde_path_to_error::deserialize(&value) {
            Ok(read) if missing.is_empty() => return Ok(read),
            Ok(_) => return Err(ApiError::Validation(missing)),
            Err(error) => fault_of(&error),
        };
        let stands_in = missing.iter().any(|field| field.field == fault.field);
        match value.get(&fault.field) {
            // Of a text or of a list, one is right.
            None if fault.code == FieldCode::Required && value.is_object() && !fault.field.contains('.') => {
                value[&fault.field] = Value::String(String::new());
                missing.push(fault);
            }
            Some(Value::String(_)) if stands_in => value[&fault.field] = Value::Array(Vec::new()),
            _ => {
                missing.extend((!stands_in).then_some(fault));
                return Err(ApiError::Validation(missing));
            }
        }
    }
}

/// The message never repeats a value.
fn fault_of(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let path = error.path().to_string();
    let message = error.inner().to_string();
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match missing {
        Some(name) if path == "." => FieldError::new(name, FieldCode::Required, "Field required"),
        Some(name) => FieldError::new(format!("{path}.{name}"), FieldCode::Required, "Field required"),
        None => {
            let expected = message.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
            FieldError::new(path, FieldCode::WrongType, format!("Expected {expected}"))
        }
    }
}

impl<T> OptionalJson<T> {
    /// What is wrong where a credential had to be there after all; a page whose cookie is gone sends no body at all.
    pub(super) fn missing(&self, request: &HttpRequest, field: &str) -> ApiError {
        match (&self.0, content_type(request).as_str()) {
            (Some(_), _) => ApiError::field(FieldError::new(field, FieldCode::Required, "Field required")),
            (None, "application/json") => ApiError::MalformedJson("The body is not JSON at line 1, column 0".into()),
            (None, "") => ApiError::NotAuthenticated,
            (None, _) => ApiError::UnsupportedMediaType("application/json"),
        }
    }
}

/// An object inside of a body: serde would take an array for it.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMap(PhantomData))
    }
}

/// For a field that can be absent but not null: a change to nothing is no change that there is.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A yes or no, which a form has as text.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Flag;

    impl Visitor<'_> for Flag {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<bool, E> {
            value.parse().map_err(|_| E::invalid_type(serde::de::Unexpected::Str(""), &self))
        }
    }

    deserializer.deserialize_any(Flag)
}

/// For a field that can be absent, null or a value: `Some(None)` is null.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
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
    fn all_that_is_missing_is_told_at_once() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its fields' presence is asked about")]
        struct Several {
            name: String,
            list: Vec<Object<Login>>,
            number: Option<u8>,
            text: String,
        }
        let faults = |body: &str| match parse_json::<Several>(body.as_bytes()).unwrap_err() {
            ApiError::Validation(errors) => errors.into_iter().map(|e| (e.field, e.code)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let required = |name: &str| (name.to_owned(), FieldCode::Required);
        assert_eq!(faults("{}"), [required("name"), required("list"), required("text")]);
        let wrong = |name: &str| (name.to_owned(), FieldCode::WrongType);
        assert_eq!(faults(r#"{"name":"", "number":"x", "text":""}"#), [wrong("number")]);
        let list = |element: &str| faults(&format!(r#"{{"name":"", "text":"", "list":[{element}]}}"#));
        assert_eq!(list("[\"a\", null]"), [wrong("list[0]")]);
        assert_eq!(list("{\"username\": 5}"), [wrong("list[0].username")]);
        assert_eq!(list("{}"), [required("list[0].username")]);
    }

    #[test]
    fn null_is_told_apart_from_absent() {
        let parse = |body: &str| parse_json::<Login>(body.as_bytes()).unwrap();
        assert_eq!(parse("{\"username\":\"a\"}").full_name, None);
        assert_eq!(parse("{\"username\":\"a\",\"full_name\":null}").full_name, Some(None));
        assert_eq!(parse("{\"username\":\"a\",\"full_name\":\"b\"}").username, "a");
    }
}
