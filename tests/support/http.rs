//! One request and its answer, with the assertions that hold for every answer of the service.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// A request in the making.
pub(crate) struct Call {
    what: String,
    builder: reqwest::RequestBuilder,
}

impl Call {
    pub(crate) fn new(what: String, builder: reqwest::RequestBuilder) -> Self {
        Self { what, builder }
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Adds the header beside what is there: twice the same name gives two headers.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.builder = self.builder.json(body);
        self
    }

    pub(crate) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.builder = self.builder.form(fields);
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.builder = self.builder.header("content-type", content_type).body(body.into());
        self
    }

    /// Sends it; panics if no answer comes.
    pub(crate) async fn send(self) -> Answer {
        let what = self.what.clone();
        self.try_send().await.unwrap_or_else(|error| panic!("{what}: no answer: {error:?}"))
    }

    /// Sends it to a server that may die in the middle.
    pub(crate) async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        Ok(Answer::new(self.what, status, headers, body))
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(what: String, status: u16, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self { what, status, headers, body }
    }

    /// The value of a header that stands at most once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("a header of visible ASCII"));
        assert!(values.next().is_none(), "{}: header {name} stands twice", self.what);
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {} is no JSON ({error}): {}", self.what, self.status, self.text()))
    }

    /// Asserts the status; the body of an unexpected answer is in the panic.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        self
    }

    /// Asserts one of these statuses, where the contract allows more than one.
    #[track_caller]
    pub(crate) fn expect_one_of(self, statuses: &[u16]) -> Self {
        assert!(statuses.contains(&self.status), "{}: {} {}", self.what, self.status, self.text());
        self
    }

    /// Asserts a problem (RFC 9457) of that status and code, with everything that each of them carries.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let what = &self.what;
        assert_eq!(self.status, status, "{what}: expected {status} {code}, got: {}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{what}: {}", self.text());
        let problem = self.json();
        for field in ["type", "title", "detail", "code", "request_id"] {
            let value = problem[field].as_str().unwrap_or_else(|| panic!("{what}: no {field} in {problem}"));
            assert!(!value.is_empty(), "{what}: empty {field} in {problem}");
        }
        assert_eq!(problem["code"], code, "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}: {problem}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{what}: {problem}");
        if status >= 500 {
            let body = self.text().to_lowercase();
            for cause in ["sql", "postgres", "diesel", "connect", "socket", ".rs", "panick", "timed out"] {
                assert!(!body.contains(cause), "{what}: a {status} names a cause: {body}");
            }
        }
        if status == 503 {
            if code != "provider_unavailable" {
                assert_eq!(problem["detail"], "Service temporarily unavailable");
            }
            assert!(self.header("retry-after").is_some(), "{what}: 503 without Retry-After");
        }
        if status == 401 {
            let challenge = self.header("www-authenticate").unwrap_or_else(|| panic!("{what}: 401 without challenge"));
            assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
        }
        problem
    }

    /// Asserts a problem of that status, where the contract leaves its code to the service.
    #[track_caller]
    pub(crate) fn problem_of(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        let snake_case =
            !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(snake_case, "{}: a code that is not snake_case: {}", self.what, self.text());
        self.problem(status, &code)
    }

    /// Asserts a 422 whose `errors` name these fields, in any order and at least these.
    #[track_caller]
    pub(crate) fn invalid(&self, fields: &[&str]) -> Value {
        let problem = self.problem_of(422);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{}: no errors: {problem}", self.what));
        for error in errors {
            for key in ["field", "message", "code"] {
                assert!(error[key].is_string(), "{}: an error without {key}: {problem}", self.what);
            }
        }
        for field in fields {
            assert!(
                errors.iter().any(|error| error["field"] == *field),
                "{}: no error for {field}: {problem}",
                self.what
            );
        }
        problem
    }
}

/// The codes that a validation problem gives for one field.
pub(crate) fn field_codes(problem: &Value, field: &str) -> Vec<String> {
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_field = errors.iter().filter(|error| error["field"] == field);
    of_field.map(|error| error["code"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The `items` of a list.
#[track_caller]
pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"))
}

/// One string field of each object, in order.
pub(crate) fn names(values: &[Value], field: &str) -> Vec<String> {
    values.iter().map(|value| value[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// Asserts RFC 3339 in UTC with milliseconds: `2026-11-23T10:10:05.406Z`.
#[track_caller]
pub(crate) fn assert_millisecond_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
}

/// Asserts a UUID of version 7 in its usual writing.
#[track_caller]
pub(crate) fn assert_uuid_v7(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no id: {value}"));
    let id: uuid::Uuid = text.parse().unwrap_or_else(|_| panic!("no UUID: {text}"));
    assert_eq!(id.get_version_num(), 7, "{text}");
    assert_eq!(id.to_string(), text, "not in the usual writing");
}
