//! Grants: what a role gives, a permission or a wildcard over permissions.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::Permission;
use super::field::{FieldCode, FieldError};
use super::permission::is_identifier;

/// What a role gives: one permission (`projects:read`), all of a resource
/// (`projects:*`), or all there are (`*`). A wildcard covers what there is now
/// and what comes later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Grant(Arc<str>);

impl Grant {
    /// Every permission there is, now and later.
    pub const EVERYTHING: &'static str = "*";

    /// Reads `resource:action`, `resource:*` or `*`.
    ///
    /// # Errors
    /// The text has another form.
    ///
    /// ```
    /// use portcullis::domain::Grant;
    /// assert!(Grant::parse("projects:*").is_ok());
    /// assert!(Grant::parse("*:read").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let is_wildcard = text == Self::EVERYTHING || text.strip_suffix(":*").is_some_and(is_identifier);
        if is_wildcard || Permission::parse(text).is_ok() {
            Ok(Self(text.into()))
        } else {
            Err(FieldError::new(
                "permission",
                FieldCode::Invalid,
                "A grant is resource:action, resource:* or *, each part of a-z, 0-9, _ and -, starting with a letter",
            ))
        }
    }

    /// `*`.
    pub fn everything() -> Self {
        Self(Self::EVERYTHING.into())
    }

    /// As written: `projects:*`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `*`.
    pub fn is_everything(&self) -> bool {
        &*self.0 == Self::EVERYTHING
    }

    /// The one permission that it is; `None` for a wildcard.
    pub fn as_permission(&self) -> Option<Permission> {
        Permission::parse(&self.0).ok()
    }

    /// Whether it gives all that `other` gives, now and later.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || self.is_everything() || self.resource().is_some_and(|resource| other.is_of(resource))
    }

    /// Whether it gives the permission.
    pub fn gives(&self, permission: &Permission) -> bool {
        self.covers(&permission.clone().into())
    }

    /// `projects` of `projects:*`.
    fn resource(&self) -> Option<&str> {
        self.0.strip_suffix(":*")
    }

    fn is_of(&self, resource: &str) -> bool {
        self.0.split_once(':').is_some_and(|(of, _)| of == resource)
    }
}

impl From<Permission> for Grant {
    fn from(permission: Permission) -> Self {
        Self(permission.as_str().into())
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Grant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|error| error.message)
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_a_permission_or_a_wildcard() {
        for good in ["projects:read", "projects:*", "*"] {
            assert_eq!(Grant::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "projects", "projects:", "*:*", "*:read", "projects:r*", "Projects:*", ":*", "a:*:*", "a:b:*"] {
            assert!(Grant::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_narrower() {
        let covers = |a: &str, b: &str| Grant::parse(a).unwrap().covers(&Grant::parse(b).unwrap());
        for (a, b) in [("*", "*"), ("*", "a:*"), ("*", "a:b"), ("a:*", "a:*"), ("a:*", "a:b"), ("a:b", "a:b")] {
            assert!(covers(a, b), "{a} {b}");
        }
        for (a, b) in [("a:*", "*"), ("a:b", "*"), ("a:b", "a:*"), ("a:*", "ab:c"), ("a:b", "a:c"), ("a:*", "b:*")] {
            assert!(!covers(a, b), "{a} {b}");
        }
    }
}
