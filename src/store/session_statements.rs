//! The rows of sessions and the statements about them, compiled for each database.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::NewSession;
use super::schema::{changes, refresh_tokens, users};
use super::types::{DbId, DbTime, Instant};
use crate::domain::{Page, Rotation, Session, SessionEnd, SessionId, Timestamp, TokenHash, UserId};

/// How long changes are kept for instances that were away: beyond it they forget everything they hold.
const CHANGES_KEPT_MS: i64 = 3_600_000;

#[derive(Queryable, Selectable)]
#[diesel(table_name = refresh_tokens)]
struct SessionRow {
    session_id: DbId,
    user_id: DbId,
    created_at: DbTime,
    expires_at: DbTime,
    last_used_at: DbTime,
    ip_address: Option<String>,
    user_agent: Option<String>,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.session_id.into(),
            user_id: row.user_id.into(),
            created_at: row.created_at.into(),
            expires_at: row.expires_at.into(),
            last_used_at: row.last_used_at.into(),
            ip_address: row.ip_address.map(Into::into),
            user_agent: row.user_agent.map(Into::into),
        }
    }
}

type RotationRow = (DbId, DbTime, Vec<u8>, Option<Vec<u8>>, Option<DbTime>, DbTime);

fn hash_of(bytes: &[u8]) -> QueryResult<TokenHash> {
    let bytes = bytes
        .try_into()
        .map_err(|_| diesel::result::Error::DeserializationError("a refresh token's hash has not 32 bytes".into()))?;
    Ok(TokenHash(bytes))
}

fn rotation_of((user, expires_at, current, previous, rotated_at, now): RotationRow) -> QueryResult<Rotation> {
    Ok(Rotation {
        user_id: user.into(),
        expires_at: expires_at.into(),
        current: hash_of(&current)?,
        previous: previous.as_deref().map(hash_of).transpose()?,
        rotated_at: rotated_at.map(Into::into),
        now: now.into(),
    })
}

/// The statements about sessions, compiled for each database.
pub(super) trait SessionStatements: Send {
    fn insert_session(&mut self, new: &NewSession) -> impl Future<Output = QueryResult<()>> + Send;
    fn find_session(&mut self, id: SessionId) -> impl Future<Output = QueryResult<Option<Session>>> + Send;
    fn find_rotation(&mut self, id: SessionId) -> impl Future<Output = QueryResult<Option<Rotation>>> + Send;
    fn rotate(
        &mut self,
        id: SessionId,
        presented: TokenHash,
        new: TokenHash,
        at: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    /// One more than the page has, so that it shows whether there are more.
    fn list_sessions(
        &mut self,
        user: UserId,
        now: Timestamp,
        page: Page,
    ) -> impl Future<Output = QueryResult<Vec<Session>>> + Send;
    fn end_sessions(
        &mut self,
        user: UserId,
        which: SessionEnd,
    ) -> impl Future<Output = QueryResult<Vec<SessionId>>> + Send;
    /// Deletes changes that no instance waits for any more.
    fn delete_old_changes(&mut self, now: Timestamp) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! session_statements {
    ($($connection:ty => $now:literal),*) => {$(
        impl SessionStatements for $connection {
            async fn insert_session(&mut self, new: &NewSession) -> QueryResult<()> {
                diesel::insert_into(refresh_tokens::table)
                    .values((
                        refresh_tokens::session_id.eq(DbId::from(new.id)),
                        refresh_tokens::user_id.eq(DbId::from(new.user_id)),
                        refresh_tokens::current_hash.eq(new.current.0.to_vec()),
                        refresh_tokens::created_at.eq(DbTime::from(new.created_at)),
                        refresh_tokens::expires_at.eq(DbTime::from(new.expires_at)),
                        refresh_tokens::last_used_at.eq(DbTime::from(new.created_at)),
                        refresh_tokens::ip_address.eq(new.ip_address.clone()),
                        refresh_tokens::user_agent.eq(new.user_agent.clone()),
                    ))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn find_session(&mut self, id: SessionId) -> QueryResult<Option<Session>> {
                let row = refresh_tokens::table
                    .find(DbId::from(id))
                    .select(SessionRow::as_select())
                    .first(self)
                    .await
                    .optional()?;
                Ok(row.map(Into::into))
            }

            async fn find_rotation(&mut self, id: SessionId) -> QueryResult<Option<Rotation>> {
                let row = refresh_tokens::table
                    .inner_join(users::table.on(users::id.eq(refresh_tokens::user_id)))
                    .filter(refresh_tokens::session_id.eq(DbId::from(id)))
                    .filter(users::is_active)
                    .select((
                        refresh_tokens::user_id,
                        refresh_tokens::expires_at,
                        refresh_tokens::current_hash,
                        refresh_tokens::previous_hash,
                        refresh_tokens::rotated_at,
                        diesel::dsl::sql::<Instant>($now),
                    ))
                    .first::<RotationRow>(self)
                    .await
                    .optional()?;
                row.map(rotation_of).transpose()
            }

            async fn rotate(
                &mut self,
                id: SessionId,
                presented: TokenHash,
                new: TokenHash,
                at: Timestamp,
            ) -> QueryResult<bool> {
                let live = refresh_tokens::table
                    .find(DbId::from(id))
                    .filter(refresh_tokens::current_hash.eq(presented.0.to_vec()))
                    .filter(refresh_tokens::expires_at.gt(DbTime::from(at)));
                let rotated = diesel::update(live)
                    .set((
                        refresh_tokens::previous_hash.eq(presented.0.to_vec()),
                        refresh_tokens::current_hash.eq(new.0.to_vec()),
                        refresh_tokens::rotated_at.eq(DbTime::from(at)),
                        refresh_tokens::last_used_at.eq(DbTime::from(at)),
                    ))
                    .execute(self)
                    .await?;
                Ok(rotated == 1)
            }

            async fn list_sessions(&mut self, user: UserId, now: Timestamp, page: Page) -> QueryResult<Vec<Session>> {
                let rows = refresh_tokens::table
                    .filter(refresh_tokens::user_id.eq(DbId::from(user)))
                    .filter(refresh_tokens::expires_at.gt(DbTime::from(now)))
                    .order(refresh_tokens::session_id.desc())
                    .limit(i64::from(page.limit) + 1)
                    .offset(i64::try_from(page.offset).unwrap_or(i64::MAX))
                    .select(SessionRow::as_select())
                    .load(self)
                    .await?;
                Ok(rows.into_iter().map(Into::into).collect())
            }

            async fn end_sessions(&mut self, user: UserId, which: SessionEnd) -> QueryResult<Vec<SessionId>> {
                let own = refresh_tokens::table.filter(refresh_tokens::user_id.eq(DbId::from(user)));
                let ended: Vec<DbId> = match which {
                    SessionEnd::All => {
                        diesel::delete(own).returning(refresh_tokens::session_id).get_results(self).await?
                    }
                    SessionEnd::One(id) => {
                        diesel::delete(own.filter(refresh_tokens::session_id.eq(DbId::from(id))))
                            .returning(refresh_tokens::session_id)
                            .get_results(self)
                            .await?
                    }
                    SessionEnd::AllBut(id) => {
                        diesel::delete(own.filter(refresh_tokens::session_id.ne(DbId::from(id))))
                            .returning(refresh_tokens::session_id)
                            .get_results(self)
                            .await?
                    }
                };
                Ok(ended.into_iter().map(Into::into).collect())
            }

            async fn delete_old_changes(&mut self, now: Timestamp) -> QueryResult<()> {
                let old = DbTime::from(Timestamp::from_millis(now.as_millis() - CHANGES_KEPT_MS));
                diesel::delete(changes::table.filter(changes::created_at.lt(old))).execute(self).await.map(drop)
            }
        }
    )*};
}

session_statements!(
    super::connect::AsyncSqlite => "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
    diesel_async::AsyncPgConnection => "clock_timestamp()"
);
