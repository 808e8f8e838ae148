//! Who may what: a compiled policy snapshot, a bounded cache of users, and the
//! actor that owns their change.
//!
//! The read path sends no message. Only a user who is not in the cache costs
//! one, and one query, however many requests ask at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix::prelude::*;
use arc_swap::{ArcSwap, Guard};
use quick_cache::sync::Cache;
use tokio::sync::oneshot;

use super::loads::{Loaded, Loads};
use super::vital::{Lifecycle, Vital};
use super::{CacheSettings, Freshness, ServiceError, ServiceResult};
use crate::domain::{Authority, Permission, Policy, RoleName, Timestamp, User, UserId};
use crate::metrics::Metrics;
use crate::store::{Store, StoreResult};

/// A boxed future of a load.
pub type Loading<T> = Pin<Box<dyn Future<Output = StoreResult<T>> + Send>>;

/// Where users and the policy are read from.
pub trait GrantSource: Send + Sync + 'static {
    /// One user with the names of their roles.
    fn load_user(&self, id: UserId) -> Loading<Option<User>>;
    /// All roles and permissions.
    fn load_policy(&self) -> Loading<Policy>;
}

impl GrantSource for Store {
    fn load_user(&self, id: UserId) -> Loading<Option<User>> {
        let store = self.clone();
        Box::pin(async move { store.find_user(id).await })
    }

    fn load_policy(&self) -> Loading<Policy> {
        let store = self.clone();
        Box::pin(async move {
            let (roles, permissions) = store.load_policy().await?;
            Ok(Policy::compile(roles, permissions))
        })
    }
}

/// Answers who may what. Cheap to clone.
#[derive(Clone)]
pub struct Rbac {
    shared: Arc<Shared>,
    actor: Addr<RbacActor>,
}

struct Shared {
    policy: ArcSwap<Policy>,
    users: Cache<UserId, Arc<User>>,
    freshness: Freshness,
    metrics: Metrics,
}

impl Rbac {
    /// Loads the policy and starts the actor on the given arbiter.
    ///
    /// # Errors
    /// The policy can't be loaded.
    pub async fn start(
        source: Arc<dyn GrantSource>,
        settings: CacheSettings,
        freshness: Freshness,
        metrics: Metrics,
        arbiter: &ArbiterHandle,
        lifecycle: &Lifecycle,
    ) -> StoreResult<Self> {
        let policy = source.load_policy().await?;
        let shared = Arc::new(Shared {
            policy: ArcSwap::from_pointee(policy),
            users: Cache::new(settings.max_users),
            freshness,
            metrics,
        });
        let actor_shared = Arc::clone(&shared);
        let vital = lifecycle.vital("rbac");
        let actor = RbacActor::start_in_arbiter(arbiter, move |_| RbacActor {
            source,
            shared: actor_shared,
            users: Loads::default(),
            policy: Loads::default(),
            _vital: vital,
        });
        Ok(Self { shared, actor })
    }

    /// The user, where this instance knows them; no message, no query.
    pub fn cached_user(&self, id: UserId) -> Option<Arc<User>> {
        if !self.shared.freshness.is_fresh() {
            return None;
        }
        let user = self.shared.users.get(&id);
        if user.is_some() {
            self.shared.metrics.rbac_hits.inc();
        }
        user
    }

    /// The user; loaded if this instance does not know them.
    ///
    /// # Errors
    /// The database is away, or what is held has become too old.
    pub async fn find_user(&self, id: UserId) -> ServiceResult<Option<Arc<User>>> {
        if let Some(user) = self.cached_user(id) {
            return Ok(Some(user));
        }
        if !self.shared.freshness.is_fresh() {
            return Err(ServiceError::Unavailable("held decisions are too old: the change feed can't be read".into()));
        }
        self.shared.metrics.rbac_misses.inc();
        let started = std::time::Instant::now();
        let (reply, answer) = oneshot::channel();
        self.actor.send(LoadUser { id, reply }).await?;
        let user = answer.await.map_err(|_| ServiceError::Unavailable("the rbac actor gave no answer".into()))?;
        self.shared.metrics.rbac_load_seconds.observe(started.elapsed().as_secs_f64());
        user.map_err(ServiceError::Unavailable)
    }

    /// The policy as it stands.
    pub fn policy(&self) -> Guard<Arc<Policy>> {
        self.shared.policy.load()
    }

    /// Whether the user may: see [`Policy::has_permission`].
    pub fn has_permission(&self, user: &User, permission: &Permission) -> bool {
        self.policy().has_permission(user, permission)
    }

    /// Whether the user holds the role; a superuser passes every role check.
    pub fn has_role(&self, user: &User, role: &RoleName) -> bool {
        self.policy().has_role(user, role)
    }

    /// Reads a user anew from the next request on.
    ///
    /// # Errors
    /// The actor is gone.
    pub async fn forget_user(&self, id: UserId) -> ServiceResult<()> {
        Ok(self.actor.send(ForgetUser(id)).await?)
    }

    /// Forgets everything held and loads the policy anew.
    ///
    /// # Errors
    /// The actor is gone, or the policy can't be loaded.
    pub async fn reload(&self) -> ServiceResult<()> {
        self.actor.send(ForgetAllUsers).await?;
        self.reload_policy().await
    }

    /// Loads the policy anew.
    ///
    /// # Errors
    /// The actor is gone, or the policy can't be loaded.
    pub async fn reload_policy(&self) -> ServiceResult<()> {
        let (reply, answer) = oneshot::channel();
        self.actor.send(ReloadPolicy(reply)).await?;
        let loaded = answer.await.map_err(|_| ServiceError::Unavailable("the rbac actor gave no answer".into()))?;
        loaded.map_err(ServiceError::Unavailable)
    }
}

/// Assigning and taking roles.
#[derive(Clone)]
pub struct RoleAssignments {
    store: Store,
    rbac: Rbac,
}

impl RoleAssignments {
    /// On a store and its cache.
    pub fn new(store: Store, rbac: Rbac) -> Self {
        Self { store, rbac }
    }

    /// Assigns a role; holds for the user's next request. False if they had it.
    ///
    /// # Errors
    /// No such user or role, a rule forbids it, or the database is away.
    pub async fn assign_role(
        &self,
        by: Authority,
        user: UserId,
        role: RoleName,
        now: Timestamp,
    ) -> ServiceResult<bool> {
        let changed = self.store.assign_role(by, user, role, now).await?;
        self.rbac.forget_user(user).await?;
        Ok(changed)
    }

    /// Takes a role away; holds for the user's next request. False if they did not have it.
    ///
    /// # Errors
    /// No such user or role, a rule forbids it, or the database is away.
    pub async fn remove_role(&self, by: Authority, user: UserId, role: RoleName) -> ServiceResult<bool> {
        let changed = self.store.revoke_role(by, user, role).await?;
        self.rbac.forget_user(user).await?;
        Ok(changed)
    }
}

type UserAnswer = Result<Option<Arc<User>>, String>;

#[derive(Message)]
#[rtype(result = "()")]
struct LoadUser {
    id: UserId,
    reply: oneshot::Sender<UserAnswer>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct ForgetUser(UserId);

#[derive(Message)]
#[rtype(result = "()")]
struct ForgetAllUsers;

#[derive(Message)]
#[rtype(result = "()")]
struct ReloadPolicy(oneshot::Sender<Result<(), String>>);

/// Publishes to the caches, and forgets: nobody else does either.
struct RbacActor {
    source: Arc<dyn GrantSource>,
    shared: Arc<Shared>,
    users: Loads<UserId, UserAnswer>,
    policy: Loads<(), Result<(), String>>,
    _vital: Vital,
}

impl Actor for RbacActor {
    type Context = Context<Self>;
}

impl RbacActor {
    fn load_user(&self, id: UserId, ctx: &mut Context<Self>) {
        let load = self.source.load_user(id);
        ctx.spawn(load.into_actor(self).map(move |loaded, actor, ctx| actor.user_loaded(id, loaded, ctx)));
    }

    fn user_loaded(&mut self, id: UserId, loaded: StoreResult<Option<User>>, ctx: &mut Context<Self>) {
        match self.users.finish(&id) {
            Loaded::Again => self.load_user(id, ctx),
            Loaded::Publish(waiting) => {
                let answer = loaded.map(|user| user.map(Arc::new)).map_err(|error| error.to_string());
                if let Ok(Some(user)) = &answer {
                    self.shared.users.insert(id, Arc::clone(user));
                }
                for reply in waiting {
                    // Who no longer waits needs no answer.
                    let _ = reply.send(answer.clone());
                }
            }
        }
    }

    fn load_policy(&self, ctx: &mut Context<Self>) {
        let load = self.source.load_policy();
        ctx.spawn(load.into_actor(self).map(|loaded, actor, ctx| actor.policy_loaded(loaded, ctx)));
    }

    fn policy_loaded(&mut self, loaded: StoreResult<Policy>, ctx: &mut Context<Self>) {
        match self.policy.finish(&()) {
            Loaded::Again => self.load_policy(ctx),
            Loaded::Publish(waiting) => {
                let answer =
                    loaded.map(|policy| self.shared.policy.store(Arc::new(policy))).map_err(|error| error.to_string());
                for reply in waiting {
                    let _ = reply.send(answer.clone());
                }
            }
        }
    }
}

impl Handler<LoadUser> for RbacActor {
    type Result = ();

    fn handle(&mut self, LoadUser { id, reply }: LoadUser, ctx: &mut Self::Context) {
        if self.users.join(id, reply) {
            self.load_user(id, ctx);
        }
    }
}

impl Handler<ForgetUser> for RbacActor {
    type Result = ();

    fn handle(&mut self, ForgetUser(id): ForgetUser, _: &mut Self::Context) {
        self.users.overtake(&id);
        self.shared.users.remove(&id);
    }
}

impl Handler<ForgetAllUsers> for RbacActor {
    type Result = ();

    fn handle(&mut self, _: ForgetAllUsers, _: &mut Self::Context) {
        self.users.overtake_all();
        self.shared.users.clear();
    }
}

impl Handler<ReloadPolicy> for RbacActor {
    type Result = ();

    fn handle(&mut self, ReloadPolicy(reply): ReloadPolicy, ctx: &mut Self::Context) {
        // A load under way may have read before the change that this is about.
        self.policy.overtake(&());
        if self.policy.join((), reply) {
            self.load_policy(ctx);
        }
    }
}
