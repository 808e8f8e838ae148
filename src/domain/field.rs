//! What is wrong with one field of a request.

use serde::Serialize;
use utoipa::ToSchema;

/// Why a field was refused; stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldCode {
    /// Needed and absent.
    Required,
    /// Another JSON type is needed here.
    WrongType,
    /// Shorter than the least length.
    TooShort,
    /// Longer than the greatest length.
    TooLong,
    /// Not of the form that this field has.
    Invalid,
    /// Outside the range of numbers.
    OutOfRange,
    /// Among the passwords that everybody tries first.
    TooCommon,
    /// A password that is the username or the email.
    SameAsName,
    /// Given more often than once.
    Repeated,
    /// A name that stands for nothing here.
    Unknown,
    /// A name that is kept for the service itself.
    Reserved,
}

/// One fault: which field, why, and in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The field's path, as in `checks[3].permission`.
    pub field: String,
    /// For people. Never repeats a secret.
    pub message: String,
    /// For programs.
    pub code: FieldCode,
}

impl FieldError {
    /// Names the field, the reason and the words.
    pub fn new(field: impl Into<String>, code: FieldCode, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), code }
    }
}
