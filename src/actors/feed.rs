//! The change feed: what other instances and the command line changed is
//! forgotten here, within a second.
//!
//! Read every 200 ms on a connection of its own. While it can't be read, what
//! is held grows old ([`Freshness`]); after a gap, everything is forgotten. The
//! regular work beside it has tasks of its own: a lock that it waits for must
//! not make a revocation wait.

use std::time::{Duration, Instant};

use actix::ArbiterHandle;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::vital::{Lifecycle, Vital};
use super::{Freshness, Rbac, ServiceResult, Tokens};
use crate::domain::SessionId;
use crate::metrics::Metrics;
use crate::store::{Change, ChangeFeed, PoolState, Store};

/// How often changes are looked for.
const INTERVAL: Duration = Duration::from_millis(200);

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_millis(1000);

/// How often last uses of sessions are written.
const WRITE_USES_EVERY: Duration = Duration::from_secs(10);

/// How often expired sessions and old changes are deleted.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// The reader of the change feed, and the small regular work beside it.
pub struct Feed {
    stop: watch::Sender<bool>,
}

struct Reader {
    feed: ChangeFeed,
    store: Store,
    rbac: Rbac,
    tokens: Tokens,
    freshness: Freshness,
    metrics: Metrics,
    is_failing: bool,
    /// Changes were read and could not be applied: everything held has to be forgotten.
    has_missed: bool,
}

impl Feed {
    /// Takes its place in the feed, forgets what was held before that, and
    /// reads on from there on the given arbiter.
    ///
    /// # Errors
    /// The database is away.
    pub async fn start(
        store: Store,
        rbac: Rbac,
        tokens: Tokens,
        freshness: Freshness,
        metrics: Metrics,
        arbiter: &ArbiterHandle,
        lifecycle: &Lifecycle,
    ) -> ServiceResult<Self> {
        let mut feed = store.change_feed(TIMEOUT);
        feed.poll().await?;
        // What was loaded before this place in the feed may be older than it.
        rbac.reload().await?;
        let (stop, stopped) = watch::channel(false);
        let uses = regularly("last uses of sessions were not written", WRITE_USES_EVERY, stopped.clone(), {
            let tokens = tokens.clone();
            move || write_uses(tokens.clone())
        });
        let purge = regularly("expired sessions were not deleted", PURGE_EVERY, stopped.clone(), {
            let (store, tokens) = (store.clone(), tokens.clone());
            move || purge(store.clone(), tokens.clone())
        });
        let reader = Reader { feed, store, rbac, tokens, freshness, metrics, is_failing: false, has_missed: false };
        spawn(reader.run(stopped), arbiter, lifecycle.vital("change feed"));
        spawn(uses, arbiter, lifecycle.vital("last uses of sessions"));
        spawn(purge, arbiter, lifecycle.vital("deletion of expired sessions"));
        Ok(Self { stop })
    }

    /// Reads no more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

fn spawn(work: impl Future<Output = ()> + Send + 'static, arbiter: &ArbiterHandle, vital: Vital) {
    arbiter.spawn(async move {
        let _vital = vital;
        work.await;
    });
}

// Boxed, for rustc 1.95 stumbles over the store's own futures when it compiles a change of them incrementally.

fn write_uses(tokens: Tokens) -> BoxFuture<'static, ServiceResult<()>> {
    Box::pin(async move { tokens.write_uses().await })
}

fn purge(store: Store, tokens: Tokens) -> BoxFuture<'static, ServiceResult<()>> {
    Box::pin(async move {
        store.purge_expired(tokens.now()).await?;
        store.purge_oauth(tokens.now()).await?;
        Ok(())
    })
}

/// Does the work again and again, one after the other, until the service stops.
async fn regularly(
    what_failed: &'static str,
    every: Duration,
    mut stopped: watch::Receiver<bool>,
    work: impl Fn() -> BoxFuture<'static, ServiceResult<()>>,
) {
    while !is_stopped_within(every, &mut stopped).await {
        if let Err(error) = work().await {
            log::warn!("{what_failed}: {error}");
        }
    }
}

/// Whether the service stops before the time is up.
async fn is_stopped_within(time: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(time, stopped.wait_for(|is_stopped| *is_stopped)).await.is_ok()
}

impl Reader {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let began = Instant::now();
            self.look(began).await;
            let PoolState { connections, idle } = self.store.pool_state();
            self.metrics.pool_connections.set(connections.into());
            self.metrics.pool_idle.set(idle.into());
            if is_stopped_within(INTERVAL.saturating_sub(began.elapsed()), &mut stopped).await {
                return;
            }
        }
    }

    async fn look(&mut self, began: Instant) {
        let done = match self.feed.poll().await {
            Ok(changes) => {
                let changes = if self.has_missed { vec![Change::Gap] } else { changes };
                let applied = self.apply(changes).await;
                // The feed tells a change once.
                self.has_missed = applied.is_err();
                applied
            }
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(()) => {
                if self.is_failing {
                    log::info!("the change feed is read again");
                }
                self.is_failing = false;
                self.freshness.confirm(began);
            }
            Err(error) => {
                self.metrics.feed_failures.inc();
                if !self.is_failing {
                    log::error!("the change feed can't be read, what is held grows old: {error}");
                }
                self.is_failing = true;
            }
        }
    }

    async fn apply(&mut self, changes: Vec<Change>) -> ServiceResult<()> {
        let mut ended: Vec<SessionId> = Vec::new();
        let mut is_policy_changed = false;
        for change in changes {
            match change {
                Change::Policy => is_policy_changed = true,
                Change::User(id) => self.rbac.forget_user(id).await?,
                Change::AllUsers => self.rbac.forget_all_users().await?,
                Change::SessionEnded(id) => ended.push(id),
                Change::AllSessions => self.tokens.forget_all_sessions().await?,
                Change::Gap => {
                    log::warn!("changes may have been missed: everything held is forgotten");
                    self.tokens.forget_all_sessions().await?;
                    self.rbac.reload().await?;
                }
            }
        }
        if !ended.is_empty() {
            self.tokens.forget_sessions(ended).await?;
        }
        if is_policy_changed {
            self.rbac.reload_policy().await?;
        }
        Ok(())
    }
}
