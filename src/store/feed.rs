//! The change feed's reader, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::connect::{self, AsyncSqlite};
use super::pool::Pools;
use super::schema::{change_clocks, changes};
use super::settings::Database;
use super::{Change, Store, StoreError, StoreResult};

/// Reads changes in order. After an error it goes on from where it was. Where the connection was lost, another
/// server may answer by now, whose changes only have the same numbers: everything before that is a gap.
pub struct ChangeFeed {
    pools: Arc<Pools>,
    timeout: Duration,
    connection: Option<Connection>,
    /// None before the first look, and after a lost connection.
    seen: Option<Seen>,
    has_begun: bool,
    /// The last look was not answered in time.
    was_late: bool,
}

/// What came of a look, and the connection if it can be used again.
struct Looked {
    found: StoreResult<(Seen, Vec<Change>)>,
    connection: Option<Connection>,
    is_late: bool,
}

/// The versions up to which changes were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    policy: i64,
    sessions: i64,
}

enum Connection {
    Sqlite(Box<AsyncSqlite>),
    Postgres(Box<AsyncPgConnection>),
}

type ChangeRow = (String, i64, String, String);

trait FeedStatements: Send {
    fn versions(&mut self) -> impl Future<Output = QueryResult<Vec<(String, i64)>>> + Send;
    fn changes_after(&mut self, seen: Seen) -> impl Future<Output = QueryResult<Vec<ChangeRow>>> + Send;
}

macro_rules! feed_statements {
    ($($connection:ty),*) => {$(
        impl FeedStatements for $connection {
            async fn versions(&mut self) -> QueryResult<Vec<(String, i64)>> {
                change_clocks::table.select((change_clocks::name, change_clocks::version)).load(self).await
            }

            async fn changes_after(&mut self, seen: Seen) -> QueryResult<Vec<ChangeRow>> {
                let policy = changes::clock.eq("policy").and(changes::version.gt(seen.policy));
                let sessions = changes::clock.eq("sessions").and(changes::version.gt(seen.sessions));
                changes::table
                    .filter(policy.or(sessions))
                    .order((changes::clock, changes::version))
                    .select((changes::clock, changes::version, changes::kind, changes::key))
                    .load(self)
                    .await
            }
        }
    )*};
}

feed_statements!(AsyncSqlite, AsyncPgConnection);

impl ChangeFeed {
    /// The changes since the last call, oldest first; the first call takes its
    /// place at the end and returns none.
    ///
    /// # Errors
    /// `Unavailable`; nothing is missed by it.
    pub async fn poll(&mut self) -> StoreResult<Vec<Change>> {
        // Until it comes back it counts as lost.
        let (connection, seen) = (self.connection.take(), self.seen.take());
        let Looked { found, connection, is_late } = self.look(connection, seen).await;
        // A file that is opened again is the same.
        let has_place = connection.is_some() || matches!(self.pools.settings.database, Database::Sqlite(_));
        (self.connection, self.was_late) = (connection, is_late);
        match found {
            Ok((now, changes)) => {
                self.seen = Some(now);
                let is_first = !std::mem::replace(&mut self.has_begun, true);
                Ok(if seen.is_none() && !is_first { vec![Change::Gap] } else { changes })
            }
            Err(error) => {
                self.seen = seen.filter(|_| has_place);
                Err(error)
            }
        }
    }

    /// A look on this connection or on a new one.
    async fn look(&self, connection: Option<Connection>, seen: Option<Seen>) -> Looked {
        let (pools, timeout, was_late) = (Arc::clone(&self.pools), self.timeout, self.was_late);
        let work = async move {
            let late = || StoreError::Unavailable("no answer about changes in time".into());
            let mut connection = match connection {
                Some(connection) => connection,
                None => {
                    // A slow server says so itself, before it counts as silent.
                    let opening = Connection::open(&pools.settings.database, timeout.mul_f64(0.8));
                    tokio::time::timeout(timeout, opening).await.map_err(|_| late())??
                }
            };
            let found = tokio::time::timeout(timeout, connection.look(seen)).await;
            let is_late = found.is_err();
            let found = found.unwrap_or_else(|_| Err(late()));
            // Once it may be that nobody had time; a server that is silent twice is gone.
            let is_kept = found.is_ok() || (connection.is_open() && !(is_late && was_late));
            Ok(Looked { found, connection: is_kept.then_some(connection), is_late })
        };
        let looked = self.pools.run(work).await;
        looked.unwrap_or_else(|error| Looked { found: Err(error), connection: None, is_late: false })
    }
}

impl Connection {
    async fn look(&mut self, seen: Option<Seen>) -> StoreResult<(Seen, Vec<Change>)> {
        match self {
            Self::Sqlite(connection) => look(&mut **connection, seen).await,
            Self::Postgres(connection) => look(&mut **connection, seen).await,
        }
    }

    /// Whether a look may be tried again on this connection after one that failed.
    fn is_open(&mut self) -> bool {
        match self {
            // The call that was not waited for may still hold it.
            Self::Sqlite(_) => false,
            Self::Postgres(connection) => !connection.is_broken(),
        }
    }

    async fn open(database: &Database, timeout: Duration) -> StoreResult<Self> {
        let opened = match database {
            Database::Sqlite(path) => {
                connect::async_sqlite(path).await.map(|connection| Self::Sqlite(Box::new(connection)))
            }
            Database::Postgres(url) => {
                connect::postgres(url, timeout).await.map(|connection| Self::Postgres(Box::new(connection)))
            }
        };
        opened.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

async fn look<C: FeedStatements>(conn: &mut C, seen: Option<Seen>) -> StoreResult<(Seen, Vec<Change>)> {
    let versions = conn.versions().await?;
    let version = |name: &str| versions.iter().find(|(clock, _)| clock == name).map_or(0, |(_, version)| *version);
    let now = Seen { policy: version("policy"), sessions: version("sessions") };
    let Some(seen) = seen else { return Ok((now, Vec::new())) };
    if now == seen {
        return Ok((seen, Vec::new()));
    }
    let rows = conn.changes_after(seen).await?;
    Ok(advance(seen, now, rows))
}

/// From what was seen to what there is now. A clock that went back (a restored
/// database) or rows that are gone leave a gap.
fn advance(seen: Seen, now: Seen, rows: Vec<ChangeRow>) -> (Seen, Vec<Change>) {
    let mut next = seen;
    let mut changes = Vec::with_capacity(rows.len());
    let mut is_gap = now.policy < seen.policy || now.sessions < seen.sessions;
    for (clock, version, kind, key) in rows {
        let last = if clock == "policy" { &mut next.policy } else { &mut next.sessions };
        is_gap |= version != *last + 1;
        *last = version;
        changes.push(parse(&kind, &key));
    }
    is_gap |= next.policy < now.policy || next.sessions < now.sessions;
    if is_gap {
        let policy = if now.policy < seen.policy { now.policy } else { next.policy.max(now.policy) };
        let sessions = if now.sessions < seen.sessions { now.sessions } else { next.sessions.max(now.sessions) };
        return (Seen { policy, sessions }, vec![Change::Gap]);
    }
    (next, changes)
}

fn parse(kind: &str, key: &str) -> Change {
    match (kind, key) {
        ("policy", _) => Change::Policy,
        ("user", "*") => Change::AllUsers,
        ("session", "*") => Change::AllSessions,
        // What is of a newer version: whatever it is, forgetting everything is right.
        ("user", id) => id.parse().map_or(Change::Gap, Change::User),
        ("session", id) => id.parse().map_or(Change::Gap, Change::SessionEnded),
        _ => Change::Gap,
    }
}

impl Store {
    /// A reader of the change feed; `timeout` bounds each look.
    pub fn change_feed(&self, timeout: Duration) -> ChangeFeed {
        ChangeFeed {
            pools: Arc::clone(&self.pools),
            timeout,
            connection: None,
            seen: None,
            has_begun: false,
            was_late: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(clock: &str, version: i64) -> ChangeRow {
        (clock.into(), version, "policy".into(), String::new())
    }

    #[test]
    fn changes_come_in_order_and_none_is_told_twice() {
        let seen = Seen { policy: 3, sessions: 7 };
        let now = Seen { policy: 5, sessions: 7 };
        let (next, changes) = advance(seen, now, vec![row("policy", 4), row("policy", 5)]);
        assert_eq!((next, changes), (now, vec![Change::Policy, Change::Policy]));
    }

    #[test]
    fn what_is_told_is_what_was_noted() {
        let id = "0197f1d0-0000-7000-8000-000000000000";
        assert_eq!(parse("user", id), Change::User(id.parse().unwrap()));
        assert_eq!(parse("user", "*"), Change::AllUsers);
        assert_eq!(parse("session", id), Change::SessionEnded(id.parse().unwrap()));
        assert_eq!(parse("session", "*"), Change::AllSessions);
        // Of a later version than this one.
        for (kind, key) in [("user", "a..z"), ("session", ""), ("device", id)] {
            assert_eq!(parse(kind, key), Change::Gap, "{kind} {key}");
        }
    }

    #[test]
    fn what_is_missing_is_a_gap() {
        let seen = Seen { policy: 3, sessions: 7 };
        let later = Seen { policy: 9, sessions: 7 };
        assert_eq!(advance(seen, later, vec![row("policy", 9)]), (later, vec![Change::Gap]));
        assert_eq!(advance(seen, later, vec![]), (later, vec![Change::Gap]));
        let restored = Seen { policy: 1, sessions: 7 };
        assert_eq!(advance(seen, restored, vec![]), (restored, vec![Change::Gap]));
    }

    #[test]
    fn rows_newer_than_the_look_at_the_clocks_are_taken_too() {
        let seen = Seen { policy: 3, sessions: 7 };
        let now = Seen { policy: 4, sessions: 7 };
        let (next, changes) = advance(seen, now, vec![row("policy", 4), row("policy", 5)]);
        assert_eq!((next.policy, changes.len()), (5, 2));
    }
}
