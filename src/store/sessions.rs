//! Sessions: one row each, with the hashes of the present refresh token and its parent.

use super::change::Statements;
use super::pool::{read, transaction};
use super::row_locks::RowLocks;
use super::session_statements::SessionStatements;
use super::{Checked, NewSession, Store, StoreResult};
use crate::domain::{Page, Rotation, Session, SessionEnd, SessionId, Slice, Timestamp, TokenHash, UserId};

async fn create<C: Statements>(conn: &mut C, new: &NewSession) -> StoreResult<bool> {
    // A provider's account is unlinked under the same lock, and its row comes after the user's.
    if matches!(new.checked, Checked::Identity(_)) {
        conn.lock_user(new.user_id).await?;
    }
    // The row's lock makes a change of password, which ends all sessions, wait or win.
    if !conn.note_login(new.user_id, new.checked.clone(), new.created_at).await? {
        return Ok(false);
    }
    conn.insert_session(new).await?;
    Ok(true)
}

/// Ends sessions of a user, and takes the locks for it in their order; noting the ends is left to the caller.
pub(super) async fn end_in_order<C: Statements>(
    conn: &mut C,
    user: UserId,
    which: SessionEnd,
) -> StoreResult<Vec<SessionId>> {
    if !matches!(which, SessionEnd::One(_)) {
        conn.lock_user(user).await?;
        conn.lock_sessions(user).await?;
    }
    Ok(SessionStatements::end_sessions(conn, user, which).await?)
}

async fn end<C: Statements>(conn: &mut C, user: UserId, which: SessionEnd) -> StoreResult<Vec<SessionId>> {
    let ended = end_in_order(conn, user, which).await?;
    conn.note_ended(&ended).await?;
    Ok(ended)
}

/// Only the last use of each session: one statement changes a row once.
fn last_uses(mut used: Vec<(SessionId, Timestamp)>) -> Vec<(SessionId, Timestamp)> {
    used.sort_unstable();
    used.reverse();
    used.dedup_by_key(|(id, _)| *id);
    used.reverse();
    used
}

async fn touch_all<C: Statements>(conn: &mut C, used: Vec<(SessionId, Timestamp)>) -> StoreResult<()> {
    Ok(RowLocks::touch_all(conn, used).await?)
}

async fn purge<C: Statements>(conn: &mut C, now: Timestamp) -> StoreResult<usize> {
    conn.delete_old_changes(now).await?;
    Ok(conn.delete_expired(now).await?)
}

impl Store {
    /// Makes a session and notes the login at its user; false if the user's
    /// password or status changed since it was checked.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn create_session(&self, new: NewSession) -> StoreResult<bool> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| create(conn, &new)) }).await
    }

    /// A session that has not ended, expired ones included.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_session(&self, id: SessionId) -> StoreResult<Option<Session>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.find_session(id)) }).await
    }

    /// What a refresh is decided by, with the database's present time; `None`
    /// if the session has ended or its user is deactivated.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_rotation(&self, id: SessionId) -> StoreResult<Option<Rotation>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.find_rotation(id)) }).await
    }

    /// The one statement that decides the race: the presented token becomes
    /// the parent of the new one if it is the present one and the session
    /// lives. False if it was rotated or ended meanwhile.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn rotate_session(
        &self,
        id: SessionId,
        presented: TokenHash,
        new: TokenHash,
        rotated_at: Timestamp,
    ) -> StoreResult<bool> {
        let pools = self.pools.clone();
        self.pools
            .run(async move { super::pool::write!(pools, |conn| conn.rotate(id, presented, new, rotated_at)) })
            .await
    }

    /// A page of the user's sessions that are not expired at `now`, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_sessions(&self, user: UserId, now: Timestamp, page: Page) -> StoreResult<Slice<Session>> {
        let pools = self.pools.clone();
        let rows = self.pools.run(async move { read!(pools, |conn| conn.list_sessions(user, now, page)) }).await?;
        Ok(Slice::from_one_more(rows, page.limit))
    }

    /// Ends sessions of a user; gives those that there were.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn end_sessions(&self, user: UserId, which: SessionEnd) -> StoreResult<Vec<SessionId>> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| end(conn, user, which)) }).await
    }

    /// Notes when sessions were last used, those apart that somebody else writes to just now; never moves a
    /// time back.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn touch_sessions(&self, used: Vec<(SessionId, Timestamp)>) -> StoreResult<()> {
        let pools = self.pools.clone();
        let used = last_uses(used);
        self.pools.run(async move { transaction!(pools, |conn| touch_all(conn, used)) }).await
    }

    /// Deletes sessions that expired before `now` and are in nobody's hands, and changes that are too old
    /// to be waited for. Gives the number of sessions.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn purge_expired(&self, now: Timestamp) -> StoreResult<usize> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| purge(conn, now)) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_of_each_session_is_kept_in_the_order_of_ids() {
        let [one, other] = [SessionId::generate(), SessionId::generate()];
        let at = Timestamp::from_millis;
        let used = vec![(other, at(1)), (one, at(5)), (other, at(7)), (one, at(3))];
        assert_eq!(last_uses(used), [(one, at(5)), (other, at(7))]);
        assert_eq!(last_uses(Vec::new()), []);
    }
}
