//! Which sessions live: a bounded positive cache, and the actor that owns its change.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use actix::prelude::*;
use parking::Pending;
use quick_cache::sync::Cache;
use tokio::sync::oneshot;

use super::loads::{Loaded, Loads};
use super::vital::Vital;
use crate::domain::{Session, SessionId, Timestamp, UserId};
use crate::store::{Store, StoreResult};

/// Last uses that wait to be written at most; beyond it they are left out:
/// they are told to the minute and decide nothing.
const MAX_PENDING: usize = 100_000;

/// A live session.
#[derive(Debug)]
pub(super) struct LiveSession {
    /// Whose it is.
    pub(super) user_id: UserId,
    /// When it ends at the latest.
    pub(super) expires_at: Timestamp,
    // The minute of the last use that was noted.
    noted_minute: AtomicI64,
}

/// The cache that requests read.
pub(super) struct LiveSessions {
    cache: Cache<SessionId, Arc<LiveSession>>,
    used: Pending,
}

mod parking {
    use std::sync::{Mutex, PoisonError};

    use super::{MAX_PENDING, SessionId, Timestamp};

    /// Last uses that wait to be written.
    #[derive(Debug, Default)]
    pub(super) struct Pending(Mutex<Vec<(SessionId, Timestamp)>>);

    impl Pending {
        pub(super) fn push(&self, id: SessionId, now: Timestamp) {
            let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.len() < MAX_PENDING {
                pending.push((id, now));
            }
        }

        pub(super) fn take(&self) -> Vec<(SessionId, Timestamp)> {
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

impl LiveSessions {
    pub(super) fn new(capacity: usize) -> Self {
        Self { cache: Cache::new(capacity), used: Pending::default() }
    }

    /// The session, where this instance knows that it lives.
    pub(super) fn find(&self, id: SessionId) -> Option<Arc<LiveSession>> {
        self.cache.get(&id)
    }

    /// Notes a use, once a minute for each session.
    pub(super) fn note_use(&self, id: SessionId, session: &LiveSession, now: Timestamp) {
        let minute = now.as_millis().div_euclid(60_000);
        if session.noted_minute.load(Ordering::Relaxed) < minute
            && session.noted_minute.swap(minute, Ordering::Relaxed) < minute
        {
            self.used.push(id, now);
        }
    }

    /// The uses since the last call, for the store.
    pub(super) fn take_used(&self) -> Vec<(SessionId, Timestamp)> {
        self.used.take()
    }
}

pub(super) type SessionAnswer = Result<Option<Arc<LiveSession>>, String>;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LoadSession {
    pub(super) id: SessionId,
    pub(super) reply: oneshot::Sender<SessionAnswer>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ForgetSessions(pub(super) Vec<SessionId>);

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ForgetAllSessions;

/// Publishes live sessions, and forgets them: nobody else does either.
pub(super) struct SessionActor {
    pub(super) store: Store,
    pub(super) live: Arc<LiveSessions>,
    pub(super) loads: Loads<SessionId, SessionAnswer>,
    pub(super) _vital: Vital,
}

impl Actor for SessionActor {
    type Context = Context<Self>;
}

impl SessionActor {
    fn load(&self, id: SessionId, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let load = async move { store.find_session(id).await };
        ctx.spawn(load.into_actor(self).map(move |loaded, actor, ctx| actor.loaded(id, loaded, ctx)));
    }

    fn loaded(&mut self, id: SessionId, loaded: StoreResult<Option<Session>>, ctx: &mut Context<Self>) {
        match self.loads.finish(&id) {
            Loaded::Again => self.load(id, ctx),
            Loaded::Publish(waiting) => {
                let answer = loaded
                    .map(|found| {
                        found.map(|session| {
                            Arc::new(LiveSession {
                                user_id: session.user_id,
                                expires_at: session.expires_at,
                                noted_minute: AtomicI64::new(session.last_used_at.as_millis().div_euclid(60_000)),
                            })
                        })
                    })
                    .map_err(|error| error.to_string());
                if let Ok(Some(session)) = &answer {
                    self.live.cache.insert(id, Arc::clone(session));
                }
                for reply in waiting {
                    // Who no longer waits needs no answer.
                    let _ = reply.send(answer.clone());
                }
            }
        }
    }
}

impl Handler<LoadSession> for SessionActor {
    type Result = ();

    fn handle(&mut self, LoadSession { id, reply }: LoadSession, ctx: &mut Self::Context) {
        if self.loads.join(id, reply) {
            self.load(id, ctx);
        }
    }
}

impl Handler<ForgetSessions> for SessionActor {
    type Result = ();

    fn handle(&mut self, ForgetSessions(ids): ForgetSessions, _: &mut Self::Context) {
        for id in &ids {
            self.loads.overtake(id);
            self.live.cache.remove(id);
        }
    }
}

impl Handler<ForgetAllSessions> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: ForgetAllSessions, _: &mut Self::Context) {
        self.loads.overtake_all();
        self.live.cache.clear();
    }
}
