//! Permissions: `resource:action`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::field::{FieldCode, FieldError};

/// Whether the text is `[a-z][a-z0-9_-]{0,63}`: a role's name, or a part of a permission's.
pub const fn is_identifier(text: &str) -> bool {
    is_identifier_between(text.as_bytes(), 0, text.len())
}

/// Whether the text is `resource:action`.
pub const fn is_permission(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut colon = 0;
    while colon < bytes.len() && bytes[colon] != b':' {
        colon += 1;
    }
    colon < bytes.len()
        && is_identifier_between(bytes, 0, colon)
        && is_identifier_between(bytes, colon + 1, bytes.len())
}

const fn is_identifier_between(bytes: &[u8], start: usize, end: usize) -> bool {
    if start >= end || end - start > 64 || !bytes[start].is_ascii_lowercase() {
        return false;
    }
    let mut place = start;
    while place < end {
        if !matches!(bytes[place], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            return false;
        }
        place += 1;
    }
    true
}

/// A permission: `resource:action`, each part `[a-z][a-z0-9_-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Permission(Arc<str>);

impl Permission {
    /// Reads `resource:action`.
    ///
    /// # Errors
    /// The text has another form.
    ///
    /// ```
    /// use portcullis::Permission;
    /// assert!(Permission::parse("projects:create").is_ok());
    /// assert!(Permission::parse("projects").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if is_permission(text) {
            Ok(Self(text.into()))
        } else {
            Err(FieldError::new(
                "permission",
                FieldCode::Invalid,
                "A permission is resource:action, each part of a-z, 0-9, _ and -, starting with a letter",
            ))
        }
    }

    /// As written: `projects:create`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Permission {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Permission {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|error| error.message)
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A permission with what is told about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Permission)]
pub struct PermissionInfo {
    /// `resource:action`.
    #[schema(value_type = String, example = "projects:create")]
    pub name: Permission,
    /// For people.
    #[schema(example = "Create new projects")]
    pub description: String,
    /// One of the fifteen that every installation has.
    pub is_built_in: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_resource_and_action() {
        for good in ["projects:create", "a:b", "data_sets:read-all", "x9:y_"] {
            assert_eq!(Permission::parse(good).unwrap().as_str(), good);
        }
        let long = format!("{}:read", "a".repeat(65));
        for bad in [
            "",
            ":",
            "projects",
            "projects:",
            ":read",
            "Projects:read",
            "a:b:c",
            "9a:b",
            "a b:c",
            "é:b",
            "a:*",
            "*",
            &long,
        ] {
            assert!(Permission::parse(bad).is_err(), "{bad}");
        }
    }
}
