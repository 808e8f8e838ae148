//! Seals of records, and the chain of them.

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::Mac;
use super::encoding::Encoder;
use crate::domain::audit::{AuditEntry, AuditRecord};
use crate::domain::{RecordId, Timestamp, UserId, WriterId};

/// What the bytes of a record begin with: another shape would have another number.
const SHAPE: &[u8] = b"portcullis audit record 1";

/// A record's fields as they are sealed: as they stand in the table, of whichever source they are read.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// The record's id.
    pub id: RecordId,
    /// Its time.
    pub timestamp: Timestamp,
    /// Who.
    pub user_id: Option<UserId>,
    /// Who, by name.
    pub username: Option<&'a str>,
    /// What.
    pub action: &'a str,
    /// On what kind of thing.
    pub resource_type: Option<&'a str>,
    /// On which one.
    pub resource_id: Option<&'a str>,
    /// From where.
    pub ip_address: Option<&'a str>,
    /// With what.
    pub user_agent: Option<&'a str>,
    /// The request's method.
    pub request_method: Option<&'a str>,
    /// The request's path.
    pub request_path: Option<&'a str>,
    /// The answer's status.
    pub response_status: Option<u16>,
    /// How it ended.
    pub outcome: &'a str,
    /// Milliseconds.
    pub duration_ms: u32,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// JSON, byte for byte.
    pub metadata: &'a str,
    /// Where the record comes from.
    pub source: &'a str,
}

impl<'a> Fields<'a> {
    /// Those of a record.
    pub fn of(record: &'a AuditRecord) -> Self {
        Self {
            id: record.id,
            timestamp: record.timestamp,
            user_id: record.user_id,
            username: record.username.as_deref(),
            action: &record.action,
            resource_type: record.resource_type.as_deref(),
            resource_id: record.resource_id.as_deref(),
            ip_address: record.ip_address.as_deref(),
            user_agent: record.user_agent.as_deref(),
            request_method: record.request_method.as_deref(),
            request_path: record.request_path.as_deref(),
            response_status: record.response_status,
            outcome: record.outcome.as_str(),
            duration_ms: record.duration_ms,
            request_id: record.request_id.as_deref(),
            metadata: record.metadata.as_str(),
            source: record.source.as_str(),
        }
    }

    /// Those of an entry that becomes a record now; `ip_address` is the entry's, as text.
    pub fn of_entry(
        (id, timestamp): (RecordId, Timestamp),
        entry: &'a AuditEntry<'_>,
        ip_address: Option<&'a str>,
    ) -> Self {
        Self {
            id,
            timestamp,
            user_id: entry.user_id,
            username: entry.username.as_deref(),
            action: &entry.action,
            resource_type: entry.resource_type.as_deref(),
            resource_id: entry.resource_id.as_deref(),
            ip_address,
            user_agent: entry.user_agent.as_deref(),
            request_method: entry.request_method.as_deref(),
            request_path: entry.request_path.as_deref(),
            response_status: entry.response_status,
            outcome: entry.outcome.as_str(),
            // More than the table has room for.
            duration_ms: entry.duration_ms.min(i32::MAX.unsigned_abs()),
            request_id: entry.request_id.as_deref(),
            metadata: entry.metadata.as_deref().unwrap_or("{}"),
            source: entry.source.as_str(),
        }
    }

    fn encode(&self, writer: WriterId, seq: u64, bytes: &mut Vec<u8>) {
        Encoder(bytes)
            .fixed(SHAPE)
            .fixed(writer.0.as_bytes())
            .number(seq)
            .fixed(self.id.0.as_bytes())
            .fixed(&self.timestamp.as_millis().to_be_bytes())
            .optional(self.user_id, |encoder, id| {
                encoder.fixed(id.0.as_bytes());
            })
            .text(self.username)
            .bytes(self.action.as_bytes())
            .text(self.resource_type)
            .text(self.resource_id)
            .text(self.ip_address)
            .text(self.user_agent)
            .text(self.request_method)
            .text(self.request_path)
            .optional(self.response_status, |encoder, status| {
                encoder.number(status.into());
            })
            .bytes(self.outcome.as_bytes())
            .number(self.duration_ms.into())
            .text(self.request_id)
            .bytes(self.metadata.as_bytes())
            .bytes(self.source.as_bytes());
    }
}

/// A record with its number in its writer's sequence, and its seal.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// From 1, without gaps.
    pub seq: u64,
    /// The record.
    pub record: AuditRecord,
    /// Over both.
    pub seal: Mac,
}

/// Seals, links and signs. Cheap to clone.
#[derive(Clone)]
pub struct Sealer(Arc<Keys>);

struct Keys {
    seals: hmac::Key,
    chain: hmac::Key,
    signer: Ed25519KeyPair,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    pub(super) fn new(seals: hmac::Key, chain: hmac::Key, signer: Ed25519KeyPair) -> Self {
        Self(Arc::new(Keys { seals, chain, signer }))
    }

    /// The seal of a record that a writer gives a number. `scratch` is for its bytes.
    pub fn seal_with(&self, scratch: &mut Vec<u8>, writer: WriterId, seq: u64, fields: &Fields<'_>) -> Mac {
        scratch.clear();
        fields.encode(writer, seq, scratch);
        mac(&self.0.seals, scratch)
    }

    /// The same, for a few.
    pub fn seal(&self, writer: WriterId, seq: u64, fields: &Fields<'_>) -> Mac {
        self.seal_with(&mut Vec::with_capacity(512), writer, seq, fields)
    }

    /// A record with its number and its seal.
    pub fn sealed(&self, writer: WriterId, seq: u64, record: AuditRecord) -> Sealed {
        let seal = self.seal(writer, seq, &Fields::of(&record));
        Sealed { seq, record, seal }
    }

    /// The next link of a writer's chain: over the one before and the record's seal.
    pub fn link(&self, before: &Mac, seal: &Mac) -> Mac {
        let mut both = [0; 64];
        both[..32].copy_from_slice(&before.0);
        both[32..].copy_from_slice(&seal.0);
        mac(&self.0.chain, &both)
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.signer.sign(bytes).as_ref().to_vec()
    }

    /// The key that verifies our checkpoints: 32 bytes (RFC 8032).
    pub fn public_key(&self) -> &[u8] {
        self.0.signer.public_key().as_ref()
    }
}

fn mac(key: &hmac::Key, bytes: &[u8]) -> Mac {
    let mut mac = Mac::default();
    mac.0.copy_from_slice(hmac::sign(key, bytes).as_ref());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{Metadata, Outcome, Source};
    use crate::proof::AuditKey;

    fn record() -> AuditRecord {
        AuditRecord {
            username: Some("ab".into()),
            resource_type: Some("c".into()),
            metadata: Metadata::parse("{\"a\":1}").unwrap(),
            outcome: Outcome::Success,
            source: Source::Event,
            ..AuditRecord::unreadable(RecordId::generate(), "")
        }
    }

    #[test]
    fn whatever_is_changed_changes_the_seal() {
        let sealer = AuditKey::generate().unwrap().sealer().unwrap();
        let (writer, record) = (WriterId::generate(), record());
        let seal = |writer, seq, record: &AuditRecord| sealer.seal(writer, seq, &Fields::of(record));
        let whole = seal(writer, 7, &record);
        assert_eq!(whole, seal(writer, 7, &record));
        let mut others = vec![seal(WriterId::generate(), 7, &record), seal(writer, 8, &record)];
        macro_rules! changed {
            ($($field:ident: $value:expr),* $(,)?) => {$(
                others.push(seal(writer, 7, &AuditRecord { $field: $value, ..record.clone() }));
            )*};
        }
        changed! {
            id: RecordId::generate(),
            timestamp: Timestamp::from_millis(1),
            user_id: Some(UserId::generate()),
            username: Some("a".into()),
            username: None,
            action: "B".into(),
            resource_type: None,
            resource_id: Some("".into()),
            ip_address: Some("::1".into()),
            user_agent: Some("c".into()),
            request_method: Some("c".into()),
            request_path: Some("c".into()),
            response_status: Some(200),
            outcome: Outcome::Denied,
            duration_ms: 1,
            request_id: Some("c".into()),
            metadata: Metadata::parse("{\"a\": 1}").unwrap(),
            source: Source::Cli,
        }
        // The same text, divided otherwise.
        others.push(seal(
            writer,
            7,
            &AuditRecord { username: Some("a".into()), resource_type: Some("bc".into()), ..record.clone() },
        ));
        others.push(whole);
        let count = others.len();
        others.sort_by_key(|mac| mac.0);
        others.dedup();
        assert_eq!(others.len(), count);
    }

    #[test]
    fn another_key_gives_another_chain() {
        let (one, other) = (AuditKey::generate().unwrap(), AuditKey::generate().unwrap());
        let seal = Mac([3; 32]);
        let link = |key: &AuditKey, before: &Mac| key.sealer().unwrap().link(before, &seal);
        assert_eq!(link(&one, &Mac::START), link(&one, &Mac::START));
        assert_ne!(link(&one, &Mac::START), link(&other, &Mac::START));
        assert_ne!(link(&one, &Mac::START), link(&one, &link(&one, &Mac::START)));
    }
}
