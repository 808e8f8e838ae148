//! Sessions: one row each, with the hashes of the present refresh token and its parent.

use secrecy::ExposeSecret;

use super::change::Statements;
use super::pool::{read, transaction};
use super::session_statements::SessionStatements;
use super::{NewSession, Store, StoreResult};
use crate::domain::{Rotation, Session, SessionEnd, SessionId, Timestamp, TokenHash, UserId};

async fn create<C: Statements>(conn: &mut C, new: &NewSession) -> StoreResult<bool> {
    // The row's lock makes a change of password, which ends all sessions, wait or win.
    if !conn.note_login(new.user_id, new.checked_hash.expose_secret().to_owned(), new.created_at).await? {
        return Ok(false);
    }
    conn.insert_session(new).await?;
    Ok(true)
}

async fn end<C: Statements>(conn: &mut C, user: UserId, which: SessionEnd) -> StoreResult<Vec<SessionId>> {
    let ended = SessionStatements::end_sessions(conn, user, which).await?;
    conn.note_ended(&ended).await?;
    Ok(ended)
}

async fn touch_all<C: Statements>(conn: &mut C, mut used: Vec<(SessionId, Timestamp)>) -> StoreResult<()> {
    // One order for all, so that two instances don't lock each other out.
    used.sort();
    for (id, at) in used {
        conn.touch(id, at).await?;
    }
    Ok(())
}

async fn purge<C: Statements>(conn: &mut C, now: Timestamp) -> StoreResult<usize> {
    Ok(SessionStatements::purge(conn, now).await?)
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

    /// The user's sessions that are not expired at `now`, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_sessions(&self, user: UserId, now: Timestamp) -> StoreResult<Vec<Session>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.list_sessions(user, now)) }).await
    }

    /// Ends sessions of a user; gives those that there were.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn end_sessions(&self, user: UserId, which: SessionEnd) -> StoreResult<Vec<SessionId>> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| end(conn, user, which)) }).await
    }

    /// Notes when sessions were last used; never moves a time back.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn touch_sessions(&self, used: Vec<(SessionId, Timestamp)>) -> StoreResult<()> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| touch_all(conn, used)) }).await
    }

    /// Deletes sessions that expired before `now`, and changes that are too old
    /// to be waited for. Gives the number of sessions.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn purge_expired(&self, now: Timestamp) -> StoreResult<usize> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| purge(conn, now)) }).await
    }
}
