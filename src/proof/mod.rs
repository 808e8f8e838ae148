//! What makes the audit log tamper-evident: seals, the chain, and signed checkpoints. Pure: it knows
//! no file and no database.
//!
//! - A **seal** is an HMAC (RFC 2104) over a record's writer, number and typed fields. It is made when
//!   the record is written to the journal and stands in its line, so that no line can be changed, moved
//!   or put in before it is in the database.
//! - The **chain** links each record to the one before it of the same writer: the `hash` in the table is
//!   an HMAC over the hash before and the record's seal. Whoever can write to the database, and no more,
//!   can compute neither.
//! - A **checkpoint** is a statement of how far each writer had come, signed with Ed25519 (RFC 8032). One
//!   that was handed out earlier convicts a log that was rewritten as a whole, keys and all.
//!
//! All three keys are derived (HKDF, RFC 5869) from one random key of the installation, which the
//! database keeps encrypted under a key that is derived from `JWT_SECRET_KEY`.

mod check;
mod checkpoint;
mod encoding;
mod key;
mod mac;
mod seal;

pub use check::{Check, Finding, Gap, Place, Stored};
pub use checkpoint::{Checkpoint, CheckpointKind, Head, SignedCheckpoint};
pub use key::{AuditKey, WrappingKey};
pub use mac::Mac;
pub use seal::{Fields, Sealed, Sealer};
