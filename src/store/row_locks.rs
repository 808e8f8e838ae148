//! Locks on rows that several transactions want at once, taken in one order: else two of them could
//! wait for each other. A user's row comes first, then those of sessions in the order of their ids, and
//! the clock of sessions last. SQLite has one writer at a time, and so nothing to order.

use diesel::prelude::*;
use diesel::sql_types::Array;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::connect::AsyncSqlite;
use super::schema::{refresh_tokens, users};
use super::types::{DbId, DbTime, Id, Instant};
use crate::domain::{SessionId, Timestamp, UserId};

/// The statements that lock rows, and those that change many of them.
pub(super) trait RowLocks: Send {
    /// Locks a user's row, if there is one.
    fn lock_user(&mut self, id: UserId) -> impl Future<Output = QueryResult<()>> + Send;
    /// Locks the rows of a user's sessions.
    fn lock_sessions(&mut self, user: UserId) -> impl Future<Output = QueryResult<()>> + Send;
    /// Moves the times of last use forward; a session that somebody holds a lock on is left out, for it is being
    /// rotated or ended.
    fn touch_all(&mut self, used: Vec<(SessionId, Timestamp)>) -> impl Future<Output = QueryResult<()>> + Send;
    /// Deletes sessions that expired before `now`; those that somebody holds a lock on are left for the next time.
    fn delete_expired(&mut self, now: Timestamp) -> impl Future<Output = QueryResult<usize>> + Send;
}

impl RowLocks for AsyncSqlite {
    async fn lock_user(&mut self, _: UserId) -> QueryResult<()> {
        Ok(())
    }

    async fn lock_sessions(&mut self, _: UserId) -> QueryResult<()> {
        Ok(())
    }

    async fn touch_all(&mut self, used: Vec<(SessionId, Timestamp)>) -> QueryResult<()> {
        for (id, at) in used {
            let (session, at) = (refresh_tokens::table.find(DbId::from(id)), DbTime::from(at));
            diesel::update(session.filter(refresh_tokens::last_used_at.lt(at)))
                .set(refresh_tokens::last_used_at.eq(at))
                .execute(self)
                .await?;
        }
        Ok(())
    }

    async fn delete_expired(&mut self, now: Timestamp) -> QueryResult<usize> {
        let expired = refresh_tokens::table.filter(refresh_tokens::expires_at.lt(DbTime::from(now)));
        diesel::delete(expired).execute(self).await
    }
}

/// Who waits for none of its rows needs no order, and keeps nobody waiting.
const TOUCH: &str = "WITH free AS ( \
        SELECT session_id FROM refresh_tokens WHERE session_id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED \
    ) \
    UPDATE refresh_tokens SET last_used_at = used.at \
    FROM free JOIN unnest($1, $2) AS used (id, at) ON used.id = free.session_id \
    WHERE refresh_tokens.session_id = used.id AND refresh_tokens.last_used_at < used.at";

const DELETE_EXPIRED: &str = "DELETE FROM refresh_tokens WHERE session_id IN ( \
        SELECT session_id FROM refresh_tokens WHERE expires_at < $1 FOR UPDATE SKIP LOCKED \
    )";

impl RowLocks for AsyncPgConnection {
    async fn lock_user(&mut self, id: UserId) -> QueryResult<()> {
        let row = users::table.find(DbId::from(id)).select(users::id).for_no_key_update();
        row.first::<DbId>(self).await.optional().map(drop)
    }

    async fn lock_sessions(&mut self, user: UserId) -> QueryResult<()> {
        refresh_tokens::table
            .filter(refresh_tokens::user_id.eq(DbId::from(user)))
            .order(refresh_tokens::session_id)
            .select(refresh_tokens::session_id)
            .for_update()
            .load::<DbId>(self)
            .await
            .map(drop)
    }

    async fn touch_all(&mut self, used: Vec<(SessionId, Timestamp)>) -> QueryResult<()> {
        let (ids, times): (Vec<DbId>, Vec<DbTime>) =
            used.into_iter().map(|(id, at)| (DbId::from(id), DbTime::from(at))).unzip();
        diesel::sql_query(TOUCH)
            .bind::<Array<Id>, _>(ids)
            .bind::<Array<Instant>, _>(times)
            .execute(self)
            .await
            .map(drop)
    }

    async fn delete_expired(&mut self, now: Timestamp) -> QueryResult<usize> {
        diesel::sql_query(DELETE_EXPIRED).bind::<Instant, _>(DbTime::from(now)).execute(self).await
    }
}
