//! The clocks that changes are numbered by, and the noting of changes.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Clock;
use super::schema::{change_clocks, changes};
use crate::domain::SessionId;

/// The statements about clocks, compiled for each database.
pub(super) trait ClockStatements: Send {
    /// Locks a clock until the end of the transaction.
    fn lock(&mut self, clock: Clock) -> impl Future<Output = QueryResult<()>> + Send;
    /// Moves a clock by as many steps as there are changes, and notes these.
    fn note_changes(
        &mut self,
        clock: Clock,
        noted: Vec<(&'static str, String)>,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn note_ended(&mut self, ended: &[SessionId]) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! clock_statements {
    ($($connection:ty => $now:literal),*) => {$(
        impl ClockStatements for $connection {
            async fn lock(&mut self, clock: Clock) -> QueryResult<()> {
                diesel::update(change_clocks::table.find(clock.name()))
                    .set(change_clocks::version.eq(change_clocks::version))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn note_changes(&mut self, clock: Clock, noted: Vec<(&'static str, String)>) -> QueryResult<()> {
                let steps = i64::try_from(noted.len()).unwrap_or(i64::MAX);
                if steps == 0 {
                    return Ok(());
                }
                let last: i64 = diesel::update(change_clocks::table.find(clock.name()))
                    .set(change_clocks::version.eq(change_clocks::version + steps))
                    .returning(change_clocks::version)
                    .get_result(self)
                    .await?;
                for (version, (kind, key)) in (last - steps + 1..).zip(noted) {
                    diesel::insert_into(changes::table)
                        .values((
                            changes::clock.eq(clock.name()),
                            changes::version.eq(version),
                            changes::kind.eq(kind),
                            changes::key.eq(key),
                            changes::created_at.eq(diesel::dsl::sql::<super::types::Instant>($now)),
                        ))
                        .execute(self)
                        .await?;
                }
                Ok(())
            }

            async fn note_ended(&mut self, ended: &[SessionId]) -> QueryResult<()> {
                self.note_changes(Clock::Sessions, ended.iter().map(|id| ("session", id.to_string())).collect()).await
            }
        }
    )*};
}

clock_statements!(
    super::connect::AsyncSqlite => "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
    diesel_async::AsyncPgConnection => "clock_timestamp()"
);
