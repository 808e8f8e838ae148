//! Accounts: registration, sign-in, and what users and administrators change.
//!
//! Plain functions over the store and the other handles: no actor of its own,
//! for nothing here has to be serialized that the database does not serialize.

use std::sync::Arc;

use secrecy::SecretString;

use super::token::SignIn;
use super::{Passwords, Rbac, ServiceError, ServiceResult, TokenPair, Tokens};
use crate::domain::{
    Authority, Email, FullName, NewPassword, Page, PasswordPolicy, RoleName, Session, SessionId, Slice, User,
    UserChange, UserFilter, UserId, Username,
};
use crate::store::{Checked, Credentials, NewUser, Store};

/// Users and their sign-in. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
    passwords: Passwords,
    rbac: Rbac,
    tokens: Tokens,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its name.
    pub username: Username,
    /// Its address.
    pub email: Email,
    /// Its owner's name.
    pub full_name: Option<FullName>,
    /// Its password.
    pub password: NewPassword,
    /// Its roles.
    pub roles: Vec<RoleName>,
    /// Whether it is a superuser.
    pub is_superuser: bool,
}

impl Accounts {
    /// On the store and the other handles.
    pub fn new(store: Store, passwords: Passwords, rbac: Rbac, tokens: Tokens) -> Self {
        Self { store, passwords, rbac, tokens }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> ServiceResult<()> {
        Ok(self.store.ping().await?)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// The name or address is taken, a role is none, or the database is away.
    pub async fn create(&self, account: NewAccount) -> ServiceResult<User> {
        let new = self.hashed(account).await?;
        Ok(self.store.create_user(new).await?)
    }

    /// Makes an account for an administrator, who must be able to hand out the
    /// roles that they chose; without a choice the account gets `default_role`.
    ///
    /// # Errors
    /// The name or address is taken, a role is none, a rule forbids it, or the
    /// database is away.
    pub async fn create_by(
        &self,
        by: Authority,
        mut account: NewAccount,
        chosen: Option<Vec<RoleName>>,
    ) -> ServiceResult<User> {
        let handed_out = chosen.clone().unwrap_or_default();
        if let Some(chosen) = chosen {
            account.roles = chosen;
        }
        let new = self.hashed(account).await?;
        Ok(self.store.create_user_by(by, new, handed_out).await?)
    }

    /// Deletes an account; its audit records stay. Gives it as it was, and how many sessions ended.
    ///
    /// # Errors
    /// No such user, a rule forbids it, or the database is away.
    pub async fn delete(&self, by: Authority, id: UserId) -> ServiceResult<(User, usize)> {
        let (user, ended) = self.store.delete_user(by, id).await?;
        let count = ended.len();
        self.rbac.forget_user(id).await?;
        self.tokens.forget_sessions(ended).await?;
        Ok((user, count))
    }

    /// A page of the sessions of an account, newest first.
    ///
    /// # Errors
    /// No such user, or the database is away.
    pub async fn list_sessions(&self, id: UserId, page: Page) -> ServiceResult<Slice<Session>> {
        self.find(id).await?.ok_or(ServiceError::NoSuchUser)?;
        self.tokens.list_sessions(id, page).await
    }

    /// Ends all sessions of an account, for an administrator. Gives how many ended.
    ///
    /// # Errors
    /// No such user, a rule forbids it, or the database is away.
    pub async fn end_sessions(&self, by: Authority, id: UserId) -> ServiceResult<usize> {
        let ended = self.store.end_sessions_of(by, id).await?;
        let count = ended.len();
        self.tokens.forget_sessions(ended).await?;
        Ok(count)
    }

    /// The account, if an administrator may write to it.
    ///
    /// # Errors
    /// No such user, a rule forbids it, or the database is away.
    pub async fn check_write(&self, by: Authority, id: UserId) -> ServiceResult<User> {
        Ok(self.store.check_write(by, id).await?)
    }

    /// Makes the first account, only while there is none.
    ///
    /// # Errors
    /// The database is away.
    pub async fn create_first(&self, account: NewAccount) -> ServiceResult<Option<User>> {
        // Asked before the hash, which takes its time, and again in the transaction.
        if self.store.has_users().await? {
            return Ok(None);
        }
        let new = self.hashed(account).await?;
        Ok(self.store.create_first_user(new).await?)
    }

    async fn hashed(&self, account: NewAccount) -> ServiceResult<NewUser> {
        Ok(NewUser {
            id: UserId::generate(),
            username: account.username,
            email: Some(account.email),
            is_email_verified: false,
            full_name: account.full_name,
            password_hash: Some(self.passwords.hash(account.password).await?),
            is_superuser: account.is_superuser,
            roles: account.roles,
            now: self.tokens.now(),
        })
    }

    /// Checks a name or address with its password and begins a session. Takes
    /// the same time whether or not there is such a user.
    ///
    /// # Errors
    /// `InvalidCredentials` for whatever of them is wrong; or the database is away.
    pub async fn log_in(
        &self,
        name: &str,
        password: &SecretString,
        ip_address: Option<String>,
        user_agent: Option<String>,
    ) -> ServiceResult<(TokenPair, UserId, Arc<str>)> {
        let (user_id, username, mut checked_hash) = self.check_password(name, password).await?;
        let checked = Checked::Password(checked_hash.clone());
        let mut sign_in = SignIn { user_id, username: Arc::clone(&username), checked, ip_address, user_agent };
        let signed_in = match self.tokens.sign_in(&sign_in).await {
            // What was checked is the hash no more: another login may have renewed it. Once more.
            Err(ServiceError::InvalidCredentials) => {
                (_, _, checked_hash) = self.check_password(name, password).await?;
                sign_in.checked = Checked::Password(checked_hash.clone());
                self.tokens.sign_in(&sign_in).await?
            }
            signed_in => signed_in?,
        };
        self.renew_hash(user_id, password, checked_hash).await;
        Ok((signed_in, user_id, username))
    }

    /// The account that a name and a password are of, with the hash that the password was checked against.
    async fn check_password(
        &self,
        name: &str,
        password: &SecretString,
    ) -> ServiceResult<(UserId, Arc<str>, SecretString)> {
        let found = match login_key(name) {
            Some(key) => self.store.find_credentials(key).await?,
            None => None,
        };
        let found = found.filter(|credentials| credentials.is_active);
        let hash = found.as_ref().and_then(|credentials| credentials.password_hash.clone());
        let is_right = self.passwords.verify(password, hash).await?;
        match (found, is_right) {
            (Some(Credentials { user_id, username, password_hash: Some(checked_hash), .. }), true) => {
                Ok((user_id, username, checked_hash))
            }
            _ => Err(ServiceError::InvalidCredentials),
        }
    }

    /// Hashes the password anew where `PASSWORD_BCRYPT_COST` has changed; what can't be renewed now is
    /// renewed at the next login.
    async fn renew_hash(&self, user: UserId, password: &SecretString, checked: SecretString) {
        let renewed = match self.passwords.renew(password, &checked).await {
            Ok(None) => return,
            Ok(Some(new)) => self.store.renew_hash(user, checked, new).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = renewed {
            log::debug!("the password hash of {user} is not renewed: {error}");
        }
    }

    /// The account, as the cache knows it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find(&self, id: UserId) -> ServiceResult<Option<Arc<User>>> {
        self.rbac.find_user(id).await
    }

    /// A page of accounts, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn list(&self, filter: UserFilter, page: Page) -> ServiceResult<Slice<User>> {
        Ok(self.store.list_users(filter, page).await?)
    }

    /// The user's own change of name and address. Gives the account before and after.
    ///
    /// # Errors
    /// The address is taken, the user is gone, or the database is away.
    pub async fn update_profile(&self, id: UserId, change: UserChange) -> ServiceResult<(User, User)> {
        if change.is_empty() {
            let user = self.store.find_user(id).await?.ok_or(ServiceError::NoSuchUser)?;
            return Ok((user.clone(), user));
        }
        let changed = self.store.update_profile(id, change, self.tokens.now()).await?;
        self.rbac.forget_user(id).await?;
        Ok(changed)
    }

    /// An administrator's change; holds for the user's next request. Gives the account before and after.
    ///
    /// # Errors
    /// No such user, a rule forbids it, the address is taken, the password is
    /// not acceptable, or the database is away.
    pub async fn update(
        &self,
        by: Authority,
        id: UserId,
        mut change: UserChange,
        password: Option<(SecretString, PasswordPolicy)>,
    ) -> ServiceResult<(User, User)> {
        if let Some((password, policy)) = password {
            let password = self.acceptable(id, &password, policy, change.email.as_ref()).await?;
            change.password_hash = Some(self.passwords.hash(password).await?);
        }
        if change.is_empty() {
            let user = self.store.check_write(by, id).await?;
            return Ok((user.clone(), user));
        }
        let (before, after, ended) = self.store.update_user(by, id, change, self.tokens.now()).await?;
        self.rbac.forget_user(id).await?;
        self.tokens.forget_sessions(ended).await?;
        Ok((before, after))
    }

    /// The user's own change of password; all their other sessions end.
    ///
    /// # Errors
    /// `WrongPassword`, or the new one is not acceptable, or the database is away.
    pub async fn change_password(
        &self,
        user: &User,
        session: SessionId,
        current: &SecretString,
        new: &SecretString,
        policy: PasswordPolicy,
    ) -> ServiceResult<usize> {
        let new = self.acceptable(user.id, new, policy, None).await?;
        let credentials = self.store.find_credentials_of(user.id).await?;
        let checked = credentials.and_then(|credentials| credentials.password_hash);
        if checked.is_none() {
            return Err(ServiceError::NoPassword);
        }
        if !self.passwords.verify(current, checked.clone()).await? {
            return Err(ServiceError::WrongPassword);
        }
        let checked = checked.ok_or(ServiceError::WrongPassword)?;
        let hash = self.passwords.hash(new).await?;
        let ended = self.store.change_password(user.id, session, checked, hash, self.tokens.now()).await?;
        // Another change was faster: what was checked is the current password no more.
        let ended = ended.ok_or(ServiceError::WrongPassword)?;
        let count = ended.len();
        self.rbac.forget_user(user.id).await?;
        self.tokens.forget_sessions(ended).await?;
        Ok(count)
    }

    /// A new password held against the policy, with the name and address of its user.
    async fn acceptable(
        &self,
        user: UserId,
        password: &SecretString,
        policy: PasswordPolicy,
        new_email: Option<&Email>,
    ) -> ServiceResult<NewPassword> {
        let user = self.find(user).await?.ok_or(ServiceError::NoSuchUser)?;
        let username = Username::parse(&user.username).map_err(ServiceError::Field)?;
        let old_email = user.email.as_deref().and_then(|email| Email::parse(email).ok());
        NewPassword::parse(password, policy, Some(&username), new_email.or(old_email.as_ref()))
            .map_err(ServiceError::Field)
    }
}

/// What a sign-in's name is looked up by; `None` if nobody can have that name.
fn login_key(name: &str) -> Option<String> {
    if name.contains('@') {
        Email::parse(name).ok().map(|email| email.key().to_owned())
    } else {
        Username::parse(name).ok().map(|username| username.key())
    }
}

/// Whether a sign-in's name is one that a user could have: others, as a
/// password typed into the wrong box, are kept out of the audit log.
pub fn is_well_formed_name(name: &str) -> bool {
    login_key(name).is_some()
}
