//! The change feed's reader, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::connect::{self, AsyncSqlite};
use super::pool::Pools;
use super::schema::{change_clocks, changes};
use super::settings::Database;
use super::{Change, Store, StoreError, StoreResult};

/// Reads changes in order. After an error the next call connects anew and goes
/// on from where it was.
pub struct ChangeFeed {
    pools: Arc<Pools>,
    timeout: Duration,
    connection: Option<Connection>,
    seen: Option<Seen>,
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
        let (pools, timeout, seen) = (Arc::clone(&self.pools), self.timeout, self.seen);
        let connection = self.connection.take();
        let work = async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(&pools.settings.database, timeout).await?,
            };
            let looked = match &mut connection {
                Connection::Sqlite(connection) => look(&mut **connection, seen).await,
                Connection::Postgres(connection) => look(&mut **connection, seen).await,
            }?;
            Ok((connection, looked))
        };
        let bounded = async move {
            tokio::time::timeout(timeout, work)
                .await
                .map_err(|_| StoreError::Unavailable("no answer about changes in time".into()))?
        };
        let (connection, (seen, changes)) = self.pools.run(bounded).await?;
        self.connection = Some(connection);
        self.seen = Some(seen);
        Ok(changes)
    }
}

impl Connection {
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
        changes.extend(parse(&kind, &key));
    }
    is_gap |= next.policy < now.policy || next.sessions < now.sessions;
    if is_gap {
        let policy = if now.policy < seen.policy { now.policy } else { next.policy.max(now.policy) };
        let sessions = if now.sessions < seen.sessions { now.sessions } else { next.sessions.max(now.sessions) };
        return (Seen { policy, sessions }, vec![Change::Gap]);
    }
    (next, changes)
}

fn parse(kind: &str, key: &str) -> Option<Change> {
    match kind {
        "policy" => Some(Change::Policy),
        "user" if key == "*" => Some(Change::AllUsers),
        "user" => key.parse().ok().map(Change::User),
        "session" => key.parse().ok().map(Change::SessionEnded),
        // Of a newer version: whatever it is, forgetting everything is right.
        _ => Some(Change::Gap),
    }
}

impl Store {
    /// A reader of the change feed; `timeout` bounds each look.
    pub fn change_feed(&self, timeout: Duration) -> ChangeFeed {
        ChangeFeed { pools: Arc::clone(&self.pools), timeout, connection: None, seen: None }
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
