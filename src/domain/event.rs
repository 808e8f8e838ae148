//! Custom events: what callers and host applications write into the audit log.

use serde_json::{Map, Value};

use super::{FieldCode, FieldError, is_reserved_action};

/// The most JSON of an event's metadata, in bytes.
pub const MAX_METADATA_BYTES: usize = 8 * 1024;

/// What somebody says that happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomEvent {
    /// 1 to 64 of `A-Z a-z 0-9 _ . : -`; none of the service's own actions.
    pub action: String,
    /// 1 to 64 of the same characters.
    pub resource_type: Option<String>,
    /// At most 256 characters.
    pub resource_id: Option<String>,
    /// At most 8 KiB of JSON.
    pub metadata: Map<String, Value>,
}

impl CustomEvent {
    /// Whether it can be recorded, and can't pass for what the service saw.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Result<(), Vec<FieldError>> {
        const NAME: &str = "Expected 1 to 64 of A-Z, a-z, 0-9, _ . : -";
        let mut errors = Vec::new();
        let mut refuse = |field: &str, code, message: &str| errors.push(FieldError::new(field, code, message));
        if !is_name(&self.action) {
            refuse("action", FieldCode::Invalid, NAME);
        } else if is_reserved_action(&self.action) {
            refuse("action", FieldCode::Reserved, "Only the service itself records this action");
        }
        if self.resource_type.as_deref().is_some_and(|kind| !is_name(kind)) {
            refuse("resource_type", FieldCode::Invalid, NAME);
        }
        if let Some(id) = &self.resource_id {
            if id.chars().count() > 256 {
                refuse("resource_id", FieldCode::TooLong, "Expected at most 256 characters");
            } else if id.is_empty() || id.chars().any(char::is_control) {
                refuse("resource_id", FieldCode::Invalid, "Expected text without control characters");
            }
        }
        let text = serde_json::to_string(&self.metadata).unwrap_or_default();
        if text.len() > MAX_METADATA_BYTES {
            refuse("metadata", FieldCode::TooLong, "Expected at most 8 KiB of JSON");
        }
        // PostgreSQL stores no NUL, however it is written.
        if text.contains("\\u0000") {
            refuse("metadata", FieldCode::Invalid, "Expected text without NUL");
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}
