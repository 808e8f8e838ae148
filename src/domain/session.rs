//! Sessions: one sign-in, from its login to its end.

use std::sync::Arc;

use super::{SessionId, Timestamp, UserId};

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, the `sid` of its tokens.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When it was signed in.
    pub created_at: Timestamp,
    /// When it ends at the latest, whatever is refreshed.
    pub expires_at: Timestamp,
    /// When a token of it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// Where it was signed in from.
    pub ip_address: Option<Arc<str>>,
    /// With what.
    pub user_agent: Option<Arc<str>>,
}

/// Which sessions of a user end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// This one.
    One(SessionId),
    /// All but this one.
    AllBut(SessionId),
    /// Every one.
    All,
}
