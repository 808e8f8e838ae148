//! Roles: named sets of permissions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::Grant;
use super::field::{FieldCode, FieldError};
use super::permission::is_identifier;

/// A role's name: `[a-z][a-z0-9_-]{0,63}`. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct RoleName(Arc<str>);

impl RoleName {
    /// The role that has every permission there is, by rule and not by rows.
    pub const ADMIN: &'static str = "admin";

    /// Reads a name.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if is_identifier(text) {
            Ok(Self(text.into()))
        } else {
            Err(FieldError::new(
                "role",
                FieldCode::Invalid,
                "A role's name is 1 to 64 of a-z, 0-9, _ and -, starting with a letter",
            ))
        }
    }

    /// The role `admin`.
    pub fn admin() -> Self {
        Self(Self::ADMIN.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the role `admin`.
    pub fn is_admin(&self) -> bool {
        &*self.0 == Self::ADMIN
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RoleName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RoleName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|error| error.message)
    }
}

impl Serialize for RoleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What is told about a role or a permission: at most 500 characters, on one line.
///
/// # Errors
/// Longer, or with a control character.
pub fn parse_description(text: &str) -> Result<String, FieldError> {
    if text.chars().count() > 500 {
        let message = "A description has at most 500 characters";
        return Err(FieldError::new("description", FieldCode::TooLong, message));
    }
    if text.chars().any(char::is_control) {
        let message = "A description has no control characters";
        return Err(FieldError::new("description", FieldCode::Invalid, message));
    }
    Ok(text.to_owned())
}

/// A role as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// For people.
    pub description: String,
    /// One of the three that every installation has.
    pub is_built_in: bool,
    /// Its own grants, sorted; none stored for `admin`, which has all by rule.
    pub grants: Vec<Grant>,
    /// The roles that it includes directly, sorted.
    pub includes: Vec<RoleName>,
}

impl Role {
    /// What it gives by itself: for `admin` everything, by rule.
    pub fn effective_grants(&self) -> Vec<Grant> {
        if self.name.is_admin() { vec![Grant::everything()] } else { self.grants.clone() }
    }
}

#[cfg(test)]
impl Role {
    pub(crate) fn sample(name: &str, grants: &[&str], includes: &[&str]) -> Self {
        Self {
            name: RoleName::parse(name).unwrap(),
            description: String::new(),
            is_built_in: false,
            grants: grants.iter().map(|grant| Grant::parse(grant).unwrap()).collect(),
            includes: includes.iter().map(|role| RoleName::parse(role).unwrap()).collect(),
        }
    }
}
