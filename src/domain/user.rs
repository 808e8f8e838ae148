//! Users: accounts of people and programs.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::field::{FieldCode, FieldError};
use super::{RoleName, Timestamp, UserId};

/// A username: 3..=64 of `A-Z a-z 0-9 . _ -`, shown as typed, unique without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Username(Arc<str>);

impl Username {
    /// Reads a username.
    ///
    /// # Errors
    /// Too short, too long, or with another character.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let refuse = |code, message: &str| Err(FieldError::new("username", code, message));
        if text.chars().count() < 3 {
            return refuse(FieldCode::TooShort, "Username must have at least 3 characters");
        }
        if text.chars().count() > 64 {
            return refuse(FieldCode::TooLong, "Username must have at most 64 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return refuse(FieldCode::Invalid, "Username may have letters A-Z and a-z, digits, and . _ - only");
        }
        Ok(Self(text.into()))
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is compared by: the same for every way to write its case.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An email address of at most 254 characters with an ASCII local part, shown as typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Email {
    text: Arc<str>,
    #[serde(skip)]
    key: Arc<str>,
}

impl Email {
    /// Reads an address (RFC 5321 §4.1.2), without display name or literal host.
    ///
    /// # Errors
    /// Too long, or no address of that form.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.chars().count() > 254 {
            return Err(FieldError::new("email", FieldCode::TooLong, "Email must have at most 254 characters"));
        }
        let invalid =
            || FieldError::new("email", FieldCode::Invalid, "Email must be a valid address, as in john@example.com");
        let (local, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
        if !local.is_ascii() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid());
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| invalid())?;
        let key = format!("{}@{domain}", local.to_ascii_lowercase());
        let options =
            email_address::Options::default().with_required_tld().without_display_text().without_domain_literal();
        email_address::EmailAddress::parse_with_options(&key, options).map_err(|_| invalid())?;
        Ok(Self { text: text.into(), key: key.into() })
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is compared by: lower case, the domain in punycode.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A person's name as they write it: at most 200 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullName(Arc<str>);

impl FullName {
    /// Reads a name.
    ///
    /// # Errors
    /// Longer than 200 characters, or with a control character.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.chars().count() > 200 {
            return Err(FieldError::new("full_name", FieldCode::TooLong, "Full name must have at most 200 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(FieldError::new("full_name", FieldCode::Invalid, "Full name must not have control characters"));
        }
        Ok(Self(text.into()))
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user as the API shows it: never a hash, never a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// UUIDv7.
    #[schema(value_type = String, format = Uuid, example = "0197e0a0-7c1e-7d3a-9b7e-0242ac120002")]
    pub id: UserId,
    /// As typed; unique without regard to case.
    #[schema(value_type = String, example = "johndoe")]
    pub username: Arc<str>,
    /// Null where a provider gave none.
    #[schema(value_type = Option<String>, example = "john@example.com")]
    pub email: Option<Arc<str>>,
    /// False until a provider or an admin says otherwise, and again after a change.
    pub email_verified: bool,
    /// As typed.
    #[schema(value_type = Option<String>, example = "John Doe")]
    pub full_name: Option<Arc<str>>,
    /// A deactivated user has nothing: no sign-in, no permission.
    pub is_active: bool,
    /// A superuser has every permission and passes every role check.
    pub is_superuser: bool,
    /// The roles that were assigned directly, sorted.
    #[schema(value_type = Vec<String>, example = json!(["viewer"]))]
    pub roles: Vec<RoleName>,
    /// When the account was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the account was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When the user last signed in.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_login_at: Option<Timestamp>,
}

/// What an administrator, or the user, changes of an account; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// Another address; it counts as unverified unless `email_verified` says otherwise.
    pub email: Option<Email>,
    /// Whether the address is known to be the user's.
    pub email_verified: Option<bool>,
    /// Another name; `Some(None)` takes it away.
    pub full_name: Option<Option<FullName>>,
    /// Deactivation ends all sessions.
    pub is_active: Option<bool>,
    /// Only a superuser may write this.
    pub is_superuser: Option<bool>,
    /// A bcrypt hash; a password set by an administrator ends all sessions.
    pub password_hash: Option<secrecy::SecretString>,
}

impl UserChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { email, email_verified, full_name, is_active, is_superuser, password_hash } = self;
        email.is_none()
            && email_verified.is_none()
            && full_name.is_none()
            && is_active.is_none()
            && is_superuser.is_none()
            && password_hash.is_none()
    }
}

/// Which users a list shows.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// A prefix of the username or email, without regard to case.
    pub prefix: Option<String>,
    /// Who were assigned this role directly.
    pub role: Option<RoleName>,
    /// Active users, or deactivated ones.
    pub is_active: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_is_compared_without_regard_to_case_and_shown_as_typed() {
        let name = Username::parse("John.Doe_1-x").unwrap();
        assert_eq!((name.as_str(), name.key().as_str()), ("John.Doe_1-x", "john.doe_1-x"));
        for (bad, code) in [
            ("ab", FieldCode::TooShort),
            ("", FieldCode::TooShort),
            (&*"a".repeat(65), FieldCode::TooLong),
            ("john doe", FieldCode::Invalid),
            ("jöhn", FieldCode::Invalid),
            ("a@b", FieldCode::Invalid),
            ("abc\0", FieldCode::Invalid),
        ] {
            assert_eq!(Username::parse(bad).unwrap_err().code, code, "{bad:?}");
        }
    }

    #[test]
    fn an_email_is_compared_in_lower_case_and_punycode() {
        assert_eq!(Email::parse("John@Bücher.Example").unwrap().key(), "john@xn--bcher-kva.example");
        assert_eq!(Email::parse("a+b@example.com").unwrap().key(), "a+b@example.com");
        for bad in [
            "",
            "john",
            "john@",
            "@example.com",
            "jöhn@example.com",
            "john@localhost",
            "a b@example.com",
            "John <john@example.com>",
            "john@[127.0.0.1]",
            "john@exa mple.com",
            "john@example..com",
            "a@b@c.de",
            "john@example.com\n",
            "john@-example.com",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Email::parse(&format!("{}@example.com", "a".repeat(250))).unwrap_err().code, FieldCode::TooLong);
    }
}
