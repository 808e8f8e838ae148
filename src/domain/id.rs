//! Identifiers: UUIDv7 newtypes, so that a session's id is never taken for a user's.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// Text that is no id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a UUID: 32 hexadecimal digits with four hyphens")]
pub struct InvalidId;

/// The hyphenated form, in any case (RFC 9562 §4). The other spellings that a
/// UUID has would be names of the same thing that a search of the audit log misses.
fn parse(text: &str) -> Result<Uuid, InvalidId> {
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return Err(InvalidId);
    }
    Uuid::try_parse(text).map_err(|_| InvalidId)
}

/// The one spelling under which an id stands in the audit log: what is no id stays as it is.
pub fn canonical(id: Cow<'_, str>) -> Cow<'_, str> {
    if id.bytes().any(|b| b.is_ascii_uppercase()) && parse(&id).is_ok() {
        return Cow::Owned(id.to_ascii_lowercase());
    }
    id
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
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
    /// An account at a sign-in provider that is linked to a user.
    IdentityId
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

    /// The least id of a millisecond: ids from it on are of that time or later.
    pub fn least_of(time: super::Timestamp) -> Self {
        let millis = u128::try_from(time.as_millis().clamp(0, (1 << 48) - 1)).unwrap_or(0);
        Self(Uuid::from_u128(millis << 80))
    }
}
