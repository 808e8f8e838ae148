//! Identifiers: UUIDv7 newtypes, so that a session's id is never taken for a user's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id: a UUIDv7 (RFC 9562 §5.7), ordered by the time of its making.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

id!(
    /// Who a user is, for ever: names and addresses change, this does not.
    UserId
);
id!(
    /// One sign-in, from its login to its end: what a pair of tokens belongs to.
    SessionId
);
id!(
    /// An audit record. Its time is the record's timestamp.
    RecordId
);
id!(
    /// One append-only source of audit records, numbered without gaps.
    WriterId
);

impl RecordId {
    /// The id's own time: the first 48 bits of a UUIDv7 are milliseconds since 1970.
    pub fn time(self) -> super::Timestamp {
        super::Timestamp::from_millis(i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX))
    }
}
