//! Tokens: who is it? Issues pairs, rotates refresh tokens, ends sessions, and
//! answers for access tokens without a message.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use quick_cache::sync::Cache;
use secrecy::SecretString;
use tokio::sync::oneshot;

use super::keys::{Keys, hash_token};
use super::sessions::{ForgetAllSessions, ForgetSessions, LiveSession, LiveSessions, LoadSession, SessionActor};
use super::vital::Lifecycle;
use super::{Freshness, Rbac, ServiceError, ServiceResult, TokenError, TokenSettings};
use crate::clock::SharedClock;
use crate::domain::{
    AccessClaims, Page, RefreshClaims, Session, SessionEnd, SessionId, Slice, Timestamp, User, UserId,
};
use crate::metrics::Metrics;
use crate::store::{Checked, NewSession, Store};
use crate::verifier::check_times;

/// Verified tokens that are held; some 700 bytes each.
const MAX_VERIFIED: usize = 50_000;

/// Live sessions that are held; some 150 bytes each.
const MAX_LIVE: usize = 200_000;

/// Issues, verifies, rotates and revokes tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    pub(super) inner: Arc<Inner>,
    actor: Addr<SessionActor>,
}

pub(super) struct Inner {
    pub(super) keys: Keys,
    pub(super) settings: TokenSettings,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    rbac: Rbac,
    verified: Cache<String, Arc<AccessClaims>>,
    live: Arc<LiveSessions>,
    freshness: Freshness,
}

/// Who a token says is calling, as of now.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// The user, active.
    pub user: Arc<User>,
    /// The session of the token.
    pub session: SessionId,
}

/// What a client gets at sign-in (RFC 6749 §5.1).
#[derive(Debug)]
pub struct TokenPair {
    /// For requests.
    pub access_token: SecretString,
    /// For the next pair.
    pub refresh_token: SecretString,
    /// How long the access token lives.
    pub expires_in: Duration,
    /// How long the refresh token lives.
    pub refresh_expires_in: Duration,
}

/// A sign-in whose password, or account at a provider, was found right.
#[derive(Debug)]
pub struct SignIn {
    /// Who signs in.
    pub user_id: UserId,
    /// By the name as registered.
    pub username: Arc<str>,
    /// What let them in.
    pub checked: Checked,
    /// From where.
    pub ip_address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
}

impl Tokens {
    /// Starts the actor on the given arbiter.
    #[expect(clippy::too_many_arguments, reason = "the composition root hands over each part once")]
    pub fn start(
        keys: Keys,
        settings: TokenSettings,
        store: Store,
        rbac: Rbac,
        clock: SharedClock,
        freshness: Freshness,
        metrics: Metrics,
        arbiter: &ArbiterHandle,
        lifecycle: &Lifecycle,
    ) -> Self {
        let live = Arc::new(LiveSessions::new(MAX_LIVE));
        let (actor_live, actor_store, vital) = (Arc::clone(&live), store.clone(), lifecycle.vital("token"));
        let actor = SessionActor::start_in_arbiter(arbiter, move |_| SessionActor {
            store: actor_store,
            live: actor_live,
            loads: Default::default(),
            _vital: vital,
        });
        let verified = Cache::new(MAX_VERIFIED);
        let inner = Inner { keys, settings, store, clock, metrics, rbac, verified, live, freshness };
        Self { inner: Arc::new(inner), actor }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The keys that are published.
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Who calls with this token, where everything needed is held: no
    /// message, no query. `None`: ask [`Tokens::authenticate`].
    pub fn authenticate_held(&self, token: &str) -> Option<Result<Authenticated, TokenError>> {
        let now = self.inner.clock.now();
        let claims = match self.verified(token, now) {
            Ok(claims) => claims,
            Err(refusal) => return Some(Err(refusal)),
        };
        let session = self.inner.live.find(claims.sid)?;
        // Nothing is held for a stale instance.
        let user = self.inner.rbac.cached_user(claims.sub)?;
        Some(self.decide(&claims, Some(&session), Some(user), now))
    }

    /// Who calls with this token.
    ///
    /// # Errors
    /// The token is refused, or what is needed to know can't be had.
    pub async fn authenticate(&self, token: &str) -> ServiceResult<Authenticated> {
        let now = self.inner.clock.now();
        let claims = self.verified(token, now)?;
        if !self.inner.freshness.is_fresh() {
            return Err(ServiceError::Unavailable("held decisions are too old: the change feed can't be read".into()));
        }
        let session = self.find_session(claims.sid).await?;
        let user = match session {
            Some(_) => self.inner.rbac.find_user(claims.sub).await?,
            None => None,
        };
        Ok(self.decide(&claims, session.as_deref(), user, now)?)
    }

    /// Signature and times: by the cache of verified tokens, the times anew at every request.
    fn verified(&self, token: &str, now: Timestamp) -> Result<Arc<AccessClaims>, TokenError> {
        let claims = match self.inner.verified.get(token) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.inner.keys.verify_access(token)?);
                self.inner.verified.insert(token.to_owned(), Arc::clone(&claims));
                claims
            }
        };
        check_times(now, claims.iat, claims.nbf, claims.exp)?;
        Ok(claims)
    }

    fn decide(
        &self,
        claims: &AccessClaims,
        session: Option<&LiveSession>,
        user: Option<Arc<User>>,
        now: Timestamp,
    ) -> Result<Authenticated, TokenError> {
        match (session, user) {
            (Some(session), Some(user))
                if session.user_id == claims.sub && now < session.expires_at && user.is_active =>
            {
                self.inner.live.note_use(claims.sid, session, now);
                Ok(Authenticated { user, session: claims.sid })
            }
            _ => Err(TokenError::Revoked),
        }
    }

    async fn find_session(&self, id: SessionId) -> ServiceResult<Option<Arc<LiveSession>>> {
        if let Some(session) = self.inner.live.find(id) {
            return Ok(Some(session));
        }
        let (reply, answer) = oneshot::channel();
        self.actor.send(LoadSession { id, reply }).await?;
        let session = answer.await.map_err(|_| ServiceError::Unavailable("the token actor gave no answer".into()))?;
        session.map_err(ServiceError::Unavailable)
    }

    /// Begins a session and issues its first pair.
    ///
    /// # Errors
    /// `InvalidCredentials`: what was checked, or the user's status, has changed since.
    pub async fn sign_in(&self, sign_in: &SignIn) -> ServiceResult<TokenPair> {
        let now = self.inner.clock.now();
        let session = SessionId::generate();
        let expires_at = now.plus(self.inner.settings.session_lifetime);
        let refresh = self.refresh_token(sign_in.user_id, session, uuid::Uuid::now_v7(), now, expires_at)?;
        let is_made = self
            .inner
            .store
            .create_session(NewSession {
                id: session,
                user_id: sign_in.user_id,
                current: hash_token(&refresh),
                created_at: now,
                expires_at,
                ip_address: sign_in.ip_address.clone(),
                user_agent: sign_in.user_agent.clone(),
                checked: sign_in.checked.clone(),
            })
            .await?;
        if !is_made {
            return Err(ServiceError::InvalidCredentials);
        }
        // The account shows its last login.
        self.inner.rbac.forget_user(sign_in.user_id).await?;
        self.pair(sign_in.user_id, &sign_in.username, session, refresh, now, expires_at)
    }

    /// An access token beside a refresh token, as one answer.
    pub(super) fn pair(
        &self,
        user: UserId,
        username: &str,
        session: SessionId,
        refresh: String,
        now: Timestamp,
        session_ends: Timestamp,
    ) -> ServiceResult<TokenPair> {
        let lifetime = self.inner.settings.access_lifetime.min(session_ends.since(now));
        let claims = AccessClaims {
            iss: self.inner.keys.issuer().to_owned(),
            aud: self.inner.keys.audience().to_owned(),
            sub: user,
            sid: session,
            jti: uuid::Uuid::now_v7(),
            iat: now.as_secs(),
            exp: now.plus(lifetime).as_secs(),
            nbf: None,
            username: username.to_owned(),
            token_use: "access".to_owned(),
        };
        let access = self.inner.keys.sign_access(&claims).map_err(unsigned)?;
        self.inner.metrics.tokens_issued.with_label_values(&["access"]).inc();
        self.inner.metrics.tokens_issued.with_label_values(&["refresh"]).inc();
        Ok(TokenPair {
            access_token: access.into(),
            refresh_token: refresh.into(),
            expires_in: lifetime,
            refresh_expires_in: self.inner.settings.refresh_lifetime.min(session_ends.since(now)),
        })
    }

    /// A refresh token of a session; the same arguments give the same token.
    pub(super) fn refresh_token(
        &self,
        user: UserId,
        session: SessionId,
        id: uuid::Uuid,
        issued_at: Timestamp,
        session_ends: Timestamp,
    ) -> ServiceResult<String> {
        let expires_at = issued_at.plus(self.inner.settings.refresh_lifetime).min(session_ends);
        let claims = RefreshClaims {
            iss: self.inner.keys.issuer().to_owned(),
            aud: self.inner.keys.issuer().to_owned(),
            sub: user,
            sid: session,
            jti: id,
            iat: issued_at.as_secs(),
            exp: expires_at.as_secs(),
            token_use: "refresh".to_owned(),
        };
        self.inner.keys.sign_refresh(&claims).map_err(unsigned)
    }

    /// The user of a session's tokens.
    pub(super) async fn find_user(&self, id: UserId) -> ServiceResult<Option<Arc<User>>> {
        self.inner.rbac.find_user(id).await
    }

    /// Ends sessions of a user; their tokens are refused from the next request
    /// on. Gives those that there were.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_sessions(&self, user: UserId, which: SessionEnd) -> ServiceResult<Vec<SessionId>> {
        let ended = self.inner.store.end_sessions(user, which).await?;
        self.forget_sessions(ended.clone()).await?;
        Ok(ended)
    }

    /// Sessions have ended: their tokens are refused from the next request on.
    ///
    /// # Errors
    /// The actor is gone.
    pub async fn forget_sessions(&self, ended: Vec<SessionId>) -> ServiceResult<()> {
        Ok(self.actor.send(ForgetSessions(ended)).await?)
    }

    /// What is held of sessions may be out of date.
    ///
    /// # Errors
    /// The actor is gone.
    pub async fn forget_all_sessions(&self) -> ServiceResult<()> {
        Ok(self.actor.send(ForgetAllSessions).await?)
    }

    /// A page of the user's sessions, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn list_sessions(&self, user: UserId, page: Page) -> ServiceResult<Slice<Session>> {
        Ok(self.inner.store.list_sessions(user, self.inner.clock.now(), page).await?)
    }

    /// Writes down when sessions were last used.
    ///
    /// # Errors
    /// The database is away; these uses are then told by the next ones.
    pub async fn write_uses(&self) -> ServiceResult<()> {
        let used = self.inner.live.take_used();
        if used.is_empty() {
            return Ok(());
        }
        Ok(self.inner.store.touch_sessions(used).await?)
    }
}

fn unsigned(error: jsonwebtoken::errors::Error) -> ServiceError {
    ServiceError::Unavailable(format!("a token can't be signed: {error}"))
}
