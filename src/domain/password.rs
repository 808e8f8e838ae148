//! The password policy (NIST 800-63B-4 §3.1.1.2, OWASP ASVS 5 §6.2): length and
//! a list of common passwords, no rules of composition.

use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use super::field::{FieldCode, FieldError};
use super::{Email, Username};

/// bcrypt reads no more bytes than these.
pub const MAX_PASSWORD_BYTES: usize = 72;

/// What a new password must be.
#[derive(Debug, Clone, Copy)]
pub struct PasswordPolicy {
    /// At least so many characters.
    pub min_length: usize,
}

/// A password in the one form in which it is hashed and compared: Unicode NFC.
pub fn normalize_password(password: &str) -> SecretString {
    password.nfc().collect::<String>().into()
}

/// A password that the policy accepts, in NFC.
#[derive(Debug, Clone)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Normalizes a password and holds it against the policy.
    ///
    /// # Errors
    /// Too short, over 72 bytes, with a NUL, among the common ones, or the
    /// user's own name or address.
    pub fn parse(
        password: &SecretString,
        policy: PasswordPolicy,
        username: Option<&Username>,
        email: Option<&Email>,
    ) -> Result<Self, FieldError> {
        let refuse = |code, message: String| Err(FieldError::new("password", code, message));
        let secret = normalize_password(password.expose_secret());
        let text = secret.expose_secret();
        if text.chars().count() < policy.min_length {
            return refuse(
                FieldCode::TooShort,
                format!("Password must have at least {} characters", policy.min_length),
            );
        }
        if text.len() > MAX_PASSWORD_BYTES {
            return refuse(FieldCode::TooLong, format!("Password must have at most {MAX_PASSWORD_BYTES} bytes"));
        }
        if text.contains('\0') {
            return refuse(FieldCode::Invalid, "Password must not have a NUL character".into());
        }
        let is_name = username.is_some_and(|username| text.eq_ignore_ascii_case(username.as_str()))
            || email.is_some_and(|email| text.eq_ignore_ascii_case(email.as_str()));
        if is_name {
            return refuse(FieldCode::SameAsName, "Password must not be the username or the email".into());
        }
        if is_common(text) {
            return refuse(FieldCode::TooCommon, "Password is among the most common ones".into());
        }
        Ok(Self(secret))
    }

    /// The password, for the hash.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

/// The common passwords of 8 characters and more, in lower case, sorted by bytes: of the
/// list of 20,000 that Royce Williams drew from leaked passwords and Django's validator made known
/// (<https://gist.github.com/roycewilliams/226886fd01572964e1431ac8afc999ce>).
static COMMON: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Whether the whole password is among the common ones, in any case.
fn is_common(password: &str) -> bool {
    COMMON.binary_search(&password.to_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(password: &str) -> Result<NewPassword, FieldCode> {
        let username = Username::parse("john.doe").unwrap();
        let email = Email::parse("john@example.com").unwrap();
        NewPassword::parse(&password.into(), PasswordPolicy { min_length: 8 }, Some(&username), Some(&email))
            .map_err(|error| error.code)
    }

    #[test]
    fn the_policy_is_length_and_a_list() {
        assert!(parse("securepassword123").is_ok());
        assert!(parse("correct horse battery staple").is_ok());
        assert!(parse("correct-horse-battery").is_ok());
        assert!(
            parse(&"é".repeat(36)).is_ok_and(|p| p.secret().expose_secret().len() == 72)
                || parse(&"éa".repeat(24)).is_ok()
        );
        assert_eq!(parse("short").unwrap_err(), FieldCode::TooShort);
        assert_eq!(parse(&"xy9 ".repeat(19)).unwrap_err(), FieldCode::TooLong);
        assert_eq!(parse("with\0a nul").unwrap_err(), FieldCode::Invalid);
        assert_eq!(parse("John.Doe").unwrap_err(), FieldCode::SameAsName);
        assert_eq!(parse("john@example.com").unwrap_err(), FieldCode::SameAsName);
        for common in ["password", "12345678", "Password1", "qwertyuiop", "iloveyou", "password123", "aaaaaaaa"] {
            assert_eq!(parse(common).unwrap_err(), FieldCode::TooCommon, "{common}");
        }
    }

    #[test]
    fn the_list_is_sorted_so_that_it_can_be_searched() {
        assert!(COMMON.len() > 8000 && COMMON.is_sorted());
    }

    #[test]
    fn both_ways_to_write_an_accent_are_one_password() {
        assert_eq!(
            normalize_password("caf\u{e9} au lait").expose_secret(),
            normalize_password("cafe\u{301} au lait").expose_secret()
        );
    }
}
