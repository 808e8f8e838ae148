//! The change feed: what other instances and the command line changed is
//! forgotten here, within a second.
//!
//! Read every 200 ms on a connection of its own. While it can't be read, what
//! is held grows old ([`Freshness`]); after a gap, everything is forgotten.

use std::time::{Duration, Instant};

use actix::ArbiterHandle;
use tokio::sync::watch;

use super::vital::Lifecycle;
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
        let vital = lifecycle.vital("change feed");
        let reader = Reader { feed, store, rbac, tokens, freshness, metrics, is_failing: false, has_missed: false };
        arbiter.spawn(async move {
            let _vital = vital;
            reader.run(stopped).await;
        });
        Ok(Self { stop })
    }

    /// Reads no more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Reader {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut uses_written = Instant::now();
        let mut purged = Instant::now();
        while !*stopped.borrow() {
            let began = Instant::now();
            self.look(began).await;
            if uses_written.elapsed() >= WRITE_USES_EVERY {
                uses_written = Instant::now();
                if let Err(error) = self.tokens.write_uses().await {
                    log::warn!("last uses of sessions were not written: {error}");
                }
            }
            if purged.elapsed() >= PURGE_EVERY {
                purged = Instant::now();
                if let Err(error) = self.store.purge_expired(self.tokens.now()).await {
                    log::warn!("expired sessions were not deleted: {error}");
                }
            }
            let PoolState { connections, idle } = self.store.pool_state();
            self.metrics.pool_connections.set(connections.into());
            self.metrics.pool_idle.set(idle.into());
            let wait = INTERVAL.saturating_sub(began.elapsed());
            // Either the time is up or the service stops; both end the wait.
            let _ = tokio::time::timeout(wait, stopped.changed()).await;
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
                Change::Gap => {
                    log::warn!("changes were missed: everything held is forgotten");
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
