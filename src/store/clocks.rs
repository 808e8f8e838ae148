//! The clocks that changes are numbered by, and the noting of changes.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::Clock;
use super::connect::AsyncSqlite;
use super::schema::{change_clocks, changes};
use super::types::Instant;
use crate::domain::SessionId;

/// Ends of sessions that are noted one by one; more at once are noted as one change of all.
const MAX_ENDED: usize = 100;

/// A kind of change, and what it is about.
pub(super) type Entry = (&'static str, String);

/// The statements about clocks, compiled for each database.
pub(super) trait ClockStatements: Send {
    /// Locks a clock until the end of the transaction.
    fn lock(&mut self, clock: Clock) -> impl Future<Output = QueryResult<()>> + Send;
    /// Moves a clock by as many steps as there are changes, and notes these.
    fn note_changes(&mut self, clock: Clock, noted: Vec<Entry>) -> impl Future<Output = QueryResult<()>> + Send;
    /// Notes ends of sessions; the last thing in its transaction, for whoever ends sessions waits for this lock.
    fn note_ended(&mut self, ended: &[SessionId]) -> impl Future<Output = QueryResult<()>> + Send;
}

/// As the feed tells them.
fn entries(ended: &[SessionId]) -> Vec<Entry> {
    if ended.len() > MAX_ENDED {
        return vec![("session", "*".to_owned())];
    }
    ended.iter().map(|id| ("session", id.to_string())).collect()
}

fn steps(noted: &[Entry]) -> i64 {
    i64::try_from(noted.len()).unwrap_or(i64::MAX)
}

impl ClockStatements for AsyncSqlite {
    /// Nothing to do: who changes anything has the whole file.
    async fn lock(&mut self, _: Clock) -> QueryResult<()> {
        Ok(())
    }

    async fn note_changes(&mut self, clock: Clock, noted: Vec<Entry>) -> QueryResult<()> {
        let steps = steps(&noted);
        if steps == 0 {
            return Ok(());
        }
        let last: i64 = diesel::update(change_clocks::table.find(clock.name()))
            .set(change_clocks::version.eq(change_clocks::version + steps))
            .returning(change_clocks::version)
            .get_result(self)
            .await?;
        for (version, (kind, key)) in (last - steps + 1..).zip(noted) {
            let now = diesel::dsl::sql::<Instant>("CAST(round(unixepoch('subsec') * 1000) AS INTEGER)");
            diesel::insert_into(changes::table)
                .values((
                    changes::clock.eq(clock.name()),
                    changes::version.eq(version),
                    changes::kind.eq(kind),
                    changes::key.eq(key),
                    changes::created_at.eq(now),
                ))
                .execute(self)
                .await?;
        }
        Ok(())
    }

    async fn note_ended(&mut self, ended: &[SessionId]) -> QueryResult<()> {
        self.note_changes(Clock::Sessions, entries(ended)).await
    }
}

/// One way to the server and back while others wait for the clock.
const NOTE: &str = "WITH clock AS ( \
        UPDATE change_clocks SET version = version + $2 WHERE name = $1 RETURNING version \
    ) \
    INSERT INTO changes (clock, version, kind, key, created_at) \
    SELECT $1, clock.version - $2 + place, kind, key, clock_timestamp() \
    FROM clock, unnest($3, $4) WITH ORDINALITY AS noted (kind, key, place)";

impl ClockStatements for AsyncPgConnection {
    async fn lock(&mut self, clock: Clock) -> QueryResult<()> {
        diesel::update(change_clocks::table.find(clock.name()))
            .set(change_clocks::version.eq(change_clocks::version))
            .execute(self)
            .await
            .map(drop)
    }

    async fn note_changes(&mut self, clock: Clock, noted: Vec<Entry>) -> QueryResult<()> {
        let steps = steps(&noted);
        if steps == 0 {
            return Ok(());
        }
        let (kinds, keys): (Vec<&str>, Vec<String>) = noted.into_iter().unzip();
        diesel::sql_query(NOTE)
            .bind::<Text, _>(clock.name())
            .bind::<BigInt, _>(steps)
            .bind::<Array<Text>, _>(kinds)
            .bind::<Array<Text>, _>(keys)
            .execute(self)
            .await
            .map(drop)
    }

    async fn note_ended(&mut self, ended: &[SessionId]) -> QueryResult<()> {
        self.note_changes(Clock::Sessions, entries(ended)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sessions_that_end_at_once_are_one_change() {
        let ended = |count| (0..count).map(|_| SessionId::generate()).collect::<Vec<_>>();
        assert_eq!(entries(&ended(0)), []);
        assert_eq!(entries(&ended(MAX_ENDED)).len(), MAX_ENDED);
        assert_eq!(entries(&ended(MAX_ENDED + 1)), [("session", "*".to_owned())]);
    }
}
