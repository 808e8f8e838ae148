//! Sign-in by accounts at providers, and which of them are whose.
//!
//! Plain functions over the store, the tokens and the providers: no actor of its own, for nothing here has to be
//! serialized that the database does not serialize.

use std::sync::Arc;

use super::token::SignIn;
use super::{ServiceError, ServiceResult, TokenPair, Tokens};
use crate::domain::{Identity, IdentityError, IdentityId, ProviderIdentity, RoleName, SessionEnd, UserId};
use crate::oidc::{Credential, Once, Providers, Verified};
use crate::store::{Checked, IdentityOrigin, OnceToken, ProviderSignIn, Store};

/// Users' accounts at sign-in providers. Cheap to clone.
#[derive(Clone)]
pub struct Identities {
    pub(super) store: Store,
    pub(super) tokens: Tokens,
    pub(super) providers: Providers,
    pub(super) settings: Arc<IdentitySettings>,
}

/// How accounts at providers come to users.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// The role of users that are made at their first sign-in; none are made where `OAUTH_AUTO_REGISTER` is off.
    pub registers_with: Option<RoleName>,
    /// `OAUTH_LINK_BY_EMAIL`: whether an address that both sides have verified links them.
    pub is_link_by_email_enabled: bool,
    /// `OAUTH_REDIRECT_ALLOWLIST`: the pages that a sign-in by a browser may end at.
    pub redirect_allowlist: Vec<String>,
}

/// A session that an account at a provider has begun.
#[derive(Debug)]
pub struct ProviderSession {
    /// Its first tokens.
    pub pair: TokenPair,
    /// Whose it is.
    pub user_id: UserId,
    /// By the name as registered.
    pub username: Arc<str>,
    /// How the account came to its user.
    pub origin: IdentityOrigin,
}

/// Where a sign-in comes from.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address.
    pub ip_address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
}

fn once_token(once: Once) -> OnceToken {
    OnceToken { digest: once.digest, until: once.until }
}

impl Identities {
    /// On the store, the tokens and the providers.
    pub fn new(store: Store, tokens: Tokens, providers: Providers, settings: IdentitySettings) -> Self {
        Self { store, tokens, providers, settings: Arc::new(settings) }
    }

    /// Whom a provider's token is of.
    ///
    /// # Errors
    /// It is refused, or the provider is away or not set up.
    pub async fn verify(&self, credential: Credential) -> ServiceResult<Verified> {
        Ok(self.providers.verify(credential).await?)
    }

    /// Begins a session for the user of an account, who is made where there is none and that is allowed.
    ///
    /// # Errors
    /// [`IdentityError`], or the database is away.
    pub async fn sign_in(&self, verified: Verified, client: Client) -> ServiceResult<ProviderSession> {
        let user = self
            .store
            .sign_in_by_provider(ProviderSignIn {
                identity: verified.identity,
                once: verified.once.map(once_token),
                registers_with: self.settings.registers_with.clone(),
                is_link_by_email_enabled: self.settings.is_link_by_email_enabled,
                now: self.tokens.now(),
            })
            .await?;
        self.tokens.forget_sessions(user.ended).await?;
        let username: Arc<str> = user.username.into();
        let sign_in = SignIn {
            user_id: user.user_id,
            username: Arc::clone(&username),
            checked: Checked::Identity(user.identity),
            ip_address: client.ip_address,
            user_agent: client.user_agent,
        };
        let pair = self.tokens.sign_in(&sign_in).await.map_err(|error| match error {
            // Deactivated, or unlinked, in between.
            ServiceError::InvalidCredentials => IdentityError::AccountDisabled.into(),
            other => other,
        })?;
        Ok(ProviderSession { pair, user_id: user.user_id, username, origin: user.origin })
    }

    /// Links an account to a user; gives it, and false where it was theirs already.
    ///
    /// # Errors
    /// [`IdentityError`], or the database is away.
    pub async fn link(&self, user: UserId, verified: Verified) -> ServiceResult<(Identity, bool)> {
        let once = verified.once.map(once_token);
        Ok(self.store.link_identity(user, verified.identity, once, self.tokens.now()).await?)
    }

    /// Unlinks one of a user's accounts, where another way to sign in is left, and ends sessions of the user.
    ///
    /// # Errors
    /// [`IdentityError`], or the database is away.
    pub async fn unlink(&self, user: UserId, id: IdentityId, ends: SessionEnd) -> ServiceResult<Identity> {
        let (gone, ended) = self.store.unlink_identity(user, id, ends).await?;
        self.tokens.forget_sessions(ended).await?;
        Ok(gone)
    }

    /// A user's accounts, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn list(&self, user: UserId) -> ServiceResult<Vec<Identity>> {
        Ok(self.store.list_identities(user).await?)
    }

    /// An identity that needs no proof any more, as one that stood behind a page's code.
    pub(super) fn proved(identity: ProviderIdentity) -> Verified {
        Verified { identity, once: None }
    }
}
