//! Accounts at sign-in providers: whom they sign in, and how they come to a user and go.

use super::change::Statements;
use super::identity_statements::{Holder, IdentityStatements};
use super::pool::{read, transaction};
use super::sessions::end_in_order;
use super::users::create;
use super::{Clock, NewUser, Store, StoreError, StoreResult};
use crate::domain::{
    Identity, IdentityError, IdentityId, MAX_IDENTITIES, ProviderIdentity, RoleName, SessionEnd, SessionId, Timestamp,
    UserId, username_candidates,
};

/// What is accepted once, until when it has to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnceToken {
    /// SHA-256 of what makes it what it is.
    pub digest: [u8; 32],
    /// After that it is refused for its age.
    pub until: Timestamp,
}

/// A sign-in by an account at a provider, which the provider has proved.
#[derive(Debug, Clone)]
pub struct ProviderSignIn {
    /// The account.
    pub identity: ProviderIdentity,
    /// Where what proved it is accepted once.
    pub once: Option<OnceToken>,
    /// The role of a user that is made, where one may be made.
    pub registers_with: Option<RoleName>,
    /// Whether an address that both sides have verified links them.
    pub is_link_by_email_enabled: bool,
    /// Now.
    pub now: Timestamp,
}

/// Whom an account at a provider signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderUser {
    /// The user.
    pub user_id: UserId,
    /// By the name as registered.
    pub username: String,
    /// The account.
    pub identity: IdentityId,
    /// How the account came to its user.
    pub origin: IdentityOrigin,
    /// Sessions that have ended by that.
    pub ended: Vec<SessionId>,
}

/// How an account at a provider came to its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityOrigin {
    /// It was the user's before.
    Known,
    /// It is now, for both sides have verified the same address.
    Linked,
    /// The user was made for it.
    Registered,
}

fn known(holder: Holder) -> StoreResult<ProviderUser> {
    if !holder.is_active {
        return Err(IdentityError::AccountDisabled.into());
    }
    Ok(ProviderUser {
        user_id: holder.user,
        username: holder.username,
        identity: holder.identity,
        origin: IdentityOrigin::Known,
        ended: Vec::new(),
    })
}

async fn use_once<C: IdentityStatements>(conn: &mut C, once: Option<OnceToken>) -> StoreResult<()> {
    match once {
        Some(once) if !conn.use_once(once.digest, once.until).await? => Err(IdentityError::Replayed.into()),
        _ => Ok(()),
    }
}

async fn sign_in<C: Statements + IdentityStatements>(
    conn: &mut C,
    sign_in: &ProviderSignIn,
) -> StoreResult<ProviderUser> {
    let ProviderSignIn { identity, once, now, .. } = sign_in;
    use_once(conn, *once).await?;
    if let Some(holder) = conn.find_holder(&identity.issuer, &identity.subject).await? {
        return known(holder);
    }
    // One first sign-in at a time: of two at once the second finds what the first has made.
    conn.lock(Clock::Policy).await?;
    if let Some(holder) = conn.find_holder(&identity.issuer, &identity.subject).await? {
        return known(holder);
    }
    let owner = match &identity.email {
        Some(email) => conn.find_credentials(email.key().to_owned()).await?,
        None => None,
    };
    let id = IdentityId::generate();
    let mut ended = Vec::new();
    let (user_id, username, origin) = match owner {
        // What another provider has made is nobody's to join: who verified its address is that provider's word.
        Some(owner) if sign_in.is_link_by_email_enabled && owner.password_hash.is_some() => {
            let user = conn.find_user(owner.user_id).await?.ok_or(StoreError::NoSuchUser)?;
            if !user.email_verified {
                return Err(IdentityError::AccountExists.into());
            }
            if !user.is_active {
                return Err(IdentityError::AccountDisabled.into());
            }
            // Whoever is signed in there by now may be somebody else.
            ended = end_in_order(conn, user.id, SessionEnd::All).await?;
            (user.id, user.username.to_string(), IdentityOrigin::Linked)
        }
        Some(_) => return Err(IdentityError::AccountExists.into()),
        None => {
            let (user, name) = register(conn, sign_in).await?;
            (user, name, IdentityOrigin::Registered)
        }
    };
    conn.insert_identity(id, user_id, identity, *now).await?;
    conn.note_ended(&ended).await?;
    Ok(ProviderUser { user_id, username, identity: id, origin, ended })
}

/// Makes the user of an account that has none.
async fn register<C: Statements + IdentityStatements>(
    conn: &mut C,
    sign_in: &ProviderSignIn,
) -> StoreResult<(UserId, String)> {
    let Some(role) = sign_in.registers_with.clone() else {
        return Err(IdentityError::RegistrationDisabled.into());
    };
    let (identity, id) = (&sign_in.identity, UserId::generate());
    let hint = identity.username_hint.as_deref().or(identity.email.as_ref().map(|email| email.as_str()));
    let hint = hint.unwrap_or(identity.provider.as_str());
    let hint = hint.split('@').next().unwrap_or_default();
    for username in username_candidates(hint, id) {
        if conn.find_credentials(username.key()).await?.is_some() {
            continue;
        }
        let name = username.as_str().to_owned();
        let user = NewUser {
            id,
            username,
            email: identity.email.clone(),
            is_email_verified: identity.email.is_some(),
            full_name: identity.full_name.clone(),
            password_hash: None,
            is_superuser: false,
            roles: vec![role],
            now: sign_in.now,
        };
        create(conn, &user, None).await?;
        return Ok((id, name));
    }
    // The last name has a part of a fresh id.
    Err(StoreError::UsernameTaken)
}

/// Gives the account, and whether it is new to the user.
async fn link<C: Statements + IdentityStatements>(
    conn: &mut C,
    user: UserId,
    identity: &ProviderIdentity,
    once: Option<OnceToken>,
    now: Timestamp,
) -> StoreResult<(Identity, bool)> {
    use_once(conn, once).await?;
    conn.lock_user(user).await?;
    if conn.find_credentials_of(user).await?.is_none() {
        return Err(StoreError::NoSuchUser);
    }
    let holder = conn.find_holder(&identity.issuer, &identity.subject).await?;
    let (id, is_new) = match holder {
        Some(holder) if holder.user == user => (holder.identity, false),
        Some(_) => return Err(IdentityError::Taken.into()),
        None => {
            if conn.list_identities(user).await?.len() >= MAX_IDENTITIES {
                return Err(IdentityError::TooMany.into());
            }
            let id = IdentityId::generate();
            conn.insert_identity(id, user, identity, now).await?;
            (id, true)
        }
    };
    let linked = conn.list_identities(user).await?.into_iter().find(|identity| identity.id == id);
    Ok((linked.ok_or(StoreError::NoSuchUser)?, is_new))
}

async fn unlink<C: Statements + IdentityStatements>(
    conn: &mut C,
    user: UserId,
    id: IdentityId,
    ends: SessionEnd,
) -> StoreResult<(Identity, Vec<SessionId>)> {
    // Two at once would each leave the other.
    conn.lock_user(user).await?;
    let gone = conn.delete_identity(user, id).await?.ok_or(IdentityError::Unknown)?;
    let credentials = conn.find_credentials_of(user).await?;
    let has_password = credentials.is_some_and(|credentials| credentials.password_hash.is_some());
    if !has_password && conn.list_identities(user).await?.is_empty() {
        return Err(IdentityError::LastCredential.into());
    }
    // Whoever had it may be signed in by it.
    let ended = end_in_order(conn, user, ends).await?;
    conn.note_ended(&ended).await?;
    Ok((gone, ended))
}

impl Store {
    /// Whom an account at a provider signs in; a user is made for it where that is allowed.
    ///
    /// # Errors
    /// [`IdentityError`], `NoSuchRole`, `Unavailable`.
    pub async fn sign_in_by_provider(&self, new: ProviderSignIn) -> StoreResult<ProviderUser> {
        for _ in 0..3 {
            let (pools, new) = (self.pools.clone(), new.clone());
            let done = self.pools.run(async move { transaction!(pools, |conn| sign_in(conn, &new)) }).await;
            // Somebody registered with that name or address, or linked the account, in between: once more.
            let is_race = matches!(
                done,
                Err(StoreError::UsernameTaken | StoreError::EmailTaken | StoreError::Identity(IdentityError::Taken))
            );
            if !is_race {
                return done;
            }
        }
        Err(StoreError::Unavailable("a name for a new account was taken again and again".into()))
    }

    /// Links an account at a provider to a user; gives it, and false where it was theirs already.
    ///
    /// # Errors
    /// [`IdentityError`], `Unavailable`.
    pub async fn link_identity(
        &self,
        user: UserId,
        identity: ProviderIdentity,
        once: Option<OnceToken>,
        now: Timestamp,
    ) -> StoreResult<(Identity, bool)> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| link(conn, user, &identity, once, now)) }).await
    }

    /// Unlinks an account at a provider, where another way to sign in is left, and ends sessions of the user;
    /// gives both.
    ///
    /// # Errors
    /// [`IdentityError`], `Unavailable`.
    pub async fn unlink_identity(
        &self,
        user: UserId,
        id: IdentityId,
        ends: SessionEnd,
    ) -> StoreResult<(Identity, Vec<SessionId>)> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| unlink(conn, user, id, ends)) }).await
    }

    /// The accounts at providers of a user, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_identities(&self, user: UserId) -> StoreResult<Vec<Identity>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.list_identities(user)) }).await
    }
}
