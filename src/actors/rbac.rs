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
use crate::domain::{Permission, Policy, RoleName, User, UserId};
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
        Box::pin(async move { Ok(store.load_policy().await?.compile()) })
    }
}

/// Answers who may what. Cheap to clone.
#[derive(Clone)]
pub struct Rbac(Arc<Handle>);

/// Behind one pointer: every principal carries a clone.
struct Handle {
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
        Ok(Self(Arc::new(Handle { shared, actor })))
    }

    /// The user, where this instance knows them; no message, no query.
    pub fn cached_user(&self, id: UserId) -> Option<Arc<User>> {
        if !self.0.shared.freshness.is_fresh() {
            return None;
        }
        let user = self.0.shared.users.get(&id);
        if user.is_some() {
            self.0.shared.metrics.rbac_hits.inc();
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
        if !self.0.shared.freshness.is_fresh() {
            return Err(ServiceError::Unavailable("held decisions are too old: the change feed can't be read".into()));
        }
        self.0.shared.metrics.rbac_misses.inc();
        let started = std::time::Instant::now();
        let (reply, answer) = oneshot::channel();
        self.0.actor.send(LoadUser { id, reply }).await?;
        let user = answer.await.map_err(|_| ServiceError::Unavailable("the rbac actor gave no answer".into()))?;
        self.0.shared.metrics.rbac_load_seconds.observe(started.elapsed().as_secs_f64());
        user.map_err(ServiceError::Unavailable)
    }

    /// The policy as it stands.
    pub fn policy(&self) -> Guard<Arc<Policy>> {
        self.0.shared.policy.load()
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
        Ok(self.0.actor.send(ForgetUser(id)).await?)
    }

    /// Reads all users anew from the next request on.
    ///
    /// # Errors
    /// The actor is gone.
    pub async fn forget_all_users(&self) -> ServiceResult<()> {
        Ok(self.0.actor.send(ForgetAllUsers).await?)
    }

    /// Forgets everything held and loads the policy anew.
    ///
    /// # Errors
    /// The actor is gone, or the policy can't be loaded.
    pub async fn reload(&self) -> ServiceResult<()> {
        self.forget_all_users().await?;
        self.reload_policy().await
    }

    /// Loads the policy anew.
    ///
    /// # Errors
    /// The actor is gone, or the policy can't be loaded.
    pub async fn reload_policy(&self) -> ServiceResult<()> {
        let (reply, answer) = oneshot::channel();
        self.0.actor.send(ReloadPolicy(reply)).await?;
        let loaded = answer.await.map_err(|_| ServiceError::Unavailable("the rbac actor gave no answer".into()))?;
        loaded.map_err(ServiceError::Unavailable)
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    /// A store that answers when it is told to, with what held when it was asked.
    #[derive(Default)]
    struct Paused {
        roles: Mutex<Vec<RoleName>>,
        asked: Notify,
        go_on: Notify,
        loads: AtomicUsize,
    }

    fn user(id: UserId, roles: Vec<RoleName>) -> User {
        User { id, roles, ..crate::domain::test_user(&[]) }
    }

    struct Source(Arc<Paused>);

    impl GrantSource for Source {
        fn load_user(&self, id: UserId) -> Loading<Option<User>> {
            let paused = Arc::clone(&self.0);
            Box::pin(async move {
                paused.loads.fetch_add(1, Ordering::SeqCst);
                let roles = paused.roles.lock().unwrap().clone();
                paused.asked.notify_one();
                paused.go_on.notified().await;
                Ok(Some(user(id, roles)))
            })
        }

        fn load_policy(&self) -> Loading<Policy> {
            Box::pin(async { Ok(Policy::default()) })
        }
    }

    async fn rbac(paused: &Arc<Paused>) -> Rbac {
        let settings = CacheSettings { max_users: 10, max_staleness: Duration::from_secs(30) };
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let freshness = Freshness::new(settings.max_staleness);
        let source = Arc::new(Source(Arc::clone(paused)));
        let here = Arbiter::current();
        Rbac::start(source, settings, freshness, metrics, &here, &Lifecycle::default()).await.unwrap()
    }

    #[actix::test]
    async fn a_slow_load_does_not_overtake_a_revocation() {
        let paused = Arc::new(Paused::default());
        *paused.roles.lock().unwrap() = vec![RoleName::admin()];
        let rbac = rbac(&paused).await;
        let id = UserId::generate();
        let asking = {
            let rbac = rbac.clone();
            actix::spawn(async move { rbac.find_user(id).await })
        };
        // The load has read the role; now the role is taken away.
        paused.asked.notified().await;
        paused.roles.lock().unwrap().clear();
        rbac.forget_user(id).await.unwrap();
        paused.go_on.notify_one();
        // It is read again, and only then told.
        paused.asked.notified().await;
        paused.go_on.notify_one();
        let told = asking.await.unwrap().unwrap().unwrap();
        assert_eq!(told.roles, vec![]);
        assert_eq!(rbac.cached_user(id).unwrap().roles, vec![]);
        assert_eq!(paused.loads.load(Ordering::SeqCst), 2);
    }

    #[actix::test]
    async fn however_many_ask_a_user_is_loaded_once() {
        let paused = Arc::new(Paused::default());
        let rbac = rbac(&paused).await;
        let id = UserId::generate();
        let asking: Vec<_> = (0..50)
            .map(|_| {
                let rbac = rbac.clone();
                actix::spawn(async move { rbac.find_user(id).await.unwrap().unwrap().id })
            })
            .collect();
        paused.asked.notified().await;
        // All of them are in the mailbox, or before it, by the time this message was handled.
        rbac.forget_user(UserId::generate()).await.unwrap();
        paused.go_on.notify_one();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), id);
        }
        assert_eq!(paused.loads.load(Ordering::SeqCst), 1);
    }
}
