//! Accounts at sign-in providers that our users sign in with.

use super::{IdentityId, Provider, Timestamp, Username};

/// An account at a provider that is linked to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id here.
    pub id: IdentityId,
    /// Whose account it is.
    pub provider: Provider,
    /// Who says so, as a URL.
    pub issuer: String,
    /// Who it is there, for ever.
    pub subject: String,
    /// Its address when it was linked, where the provider had verified it.
    pub email: Option<String>,
    /// Since when.
    pub linked_at: Timestamp,
    /// When it last signed in.
    pub last_login_at: Option<Timestamp>,
}

/// How many a user may have.
pub const MAX_IDENTITIES: usize = 20;

/// Why an account at a provider signs nobody in, or is not linked or unlinked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Its address is that of an account here, which has to link it.
    #[error("the address is that of another account")]
    AccountExists,
    /// Its user was deactivated.
    #[error("the account is disabled")]
    AccountDisabled,
    /// Nobody has it, and `OAUTH_AUTO_REGISTER` is off.
    #[error("registration is disabled")]
    RegistrationDisabled,
    /// The token was used before.
    #[error("the token was used before")]
    Replayed,
    /// It is another user's.
    #[error("the provider account is linked to another user")]
    Taken,
    /// The caller has no such one.
    #[error("no such identity")]
    Unknown,
    /// The user has as many as they may have.
    #[error("too many provider accounts are linked")]
    TooMany,
    /// Its user could not sign in any more.
    #[error("it is the only way to sign in to this account")]
    LastCredential,
}

/// Names that a new account could have, the best first: the hint with what no name may have left out, then
/// with a number, then with a part of the account's id.
pub fn username_candidates(hint: &str, id: super::UserId) -> Vec<Username> {
    let mut base: String = hint
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(48)
        .collect();
    if base.trim_matches('-').is_empty() {
        base = "user".into();
    }
    while base.len() < 3 {
        base.push('_');
    }
    let random = id.0.simple().to_string();
    let mut names = vec![base.clone()];
    names.extend((2..10).map(|number| format!("{base}{number}")));
    names.push(format!("{base}-{}", &random[24..]));
    names.push(format!("{base}-{}", &random[20..]));
    names.iter().filter_map(|name| Username::parse(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    #[test]
    fn whatever_the_hint_is_there_are_names() {
        let first = |hint: &str| username_candidates(hint, UserId::generate())[0].as_str().to_owned();
        assert_eq!(first("jane.doe"), "jane.doe");
        assert_eq!(first("jane+x doe"), "jane-x-doe");
        assert_eq!(first("j"), "j__");
        assert_eq!(first(""), "user");
        assert_eq!(first("\u{e9}\u{e9}"), "user");
        assert_eq!(first(&"a".repeat(300)).len(), 48);
        let names = username_candidates("jane", UserId::generate());
        assert_eq!(names.len(), 11);
        assert_eq!(names[1].as_str(), "jane2");
    }
}
