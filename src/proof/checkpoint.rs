//! Signed statements of how far each writer had come.

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::encoding::Encoder;
use super::mac::{from_text, to_text};
use super::{Mac, Sealer};
use crate::domain::{RecordId, Timestamp, WriterId};

/// What the signed bytes begin with: another shape would have another number.
const SHAPE: &[u8] = b"portcullis audit checkpoint 1";

/// What a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The log had come so far.
    Heads,
    /// What is older was removed: the log begins after these.
    Retention,
}

/// How far one writer had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Head {
    /// The writer.
    #[schema(value_type = String, format = Uuid)]
    pub writer_id: WriterId,
    /// The number of its last record in the database.
    pub seq: u64,
    /// That record's hash.
    #[schema(value_type = String)]
    pub hash: Mac,
    /// The number of its last record that is known to be on the disk of its instance's journal.
    pub written: u64,
}

/// A statement of how far each writer had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Checkpoint {
    /// What it is for.
    pub kind: CheckpointKind,
    /// Of which database.
    #[schema(value_type = String, format = Uuid)]
    pub installation_id: Uuid,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// Records before this id were removed: the greatest such id of all times.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub removed_before: Option<RecordId>,
    /// The writers, in order of their ids.
    pub writers: Vec<Head>,
}

/// A checkpoint, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignedCheckpoint {
    /// What is said.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// The Ed25519 key that verifies it, in base64url.
    pub public_key: String,
    /// The signature (RFC 8032), in base64url.
    pub signature: String,
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 + self.writers.len() * 64);
        let kind = match self.kind {
            CheckpointKind::Heads => 0,
            CheckpointKind::Retention => 1,
        };
        let mut encoder = Encoder(&mut bytes);
        encoder
            .fixed(SHAPE)
            .number(kind)
            .fixed(self.installation_id.as_bytes())
            .fixed(&self.timestamp.as_millis().to_be_bytes())
            .optional(self.removed_before, |encoder, id| {
                encoder.fixed(id.0.as_bytes());
            })
            .number(self.writers.len() as u64);
        for head in &self.writers {
            encoder.fixed(head.writer_id.0.as_bytes()).number(head.seq).fixed(&head.hash.0).number(head.written);
        }
        bytes
    }
}

impl Sealer {
    /// Signs a checkpoint; its writers are brought in order.
    pub fn sign_checkpoint(&self, mut checkpoint: Checkpoint) -> SignedCheckpoint {
        checkpoint.writers.sort_by_key(|head| head.writer_id);
        let signature = to_text(&self.sign(&checkpoint.encode()));
        SignedCheckpoint { checkpoint, public_key: to_text(self.public_key()), signature }
    }

    /// Whether we have signed it.
    pub fn has_signed(&self, signed: &SignedCheckpoint) -> bool {
        signed.public_key == to_text(self.public_key()) && signed.is_consistent()
    }
}

impl SignedCheckpoint {
    /// Whether it says that our key has signed it; that it has, is another question.
    pub fn names_key_of(&self, sealer: &Sealer) -> bool {
        self.public_key == to_text(sealer.public_key())
    }

    /// Whether the key that it names has signed it.
    pub fn is_consistent(&self) -> bool {
        let (Some(key), Some(signature)) = (from_text(&self.public_key), from_text(&self.signature)) else {
            return false;
        };
        ParsedPublicKey::new(&ED25519, &key)
            .is_ok_and(|key| key.verify_sig(&self.checkpoint.encode(), &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::AuditKey;

    #[test]
    fn a_checkpoint_holds_as_it_was_signed_and_in_no_other_way() {
        let sealer = AuditKey::generate().unwrap().sealer().unwrap();
        let head = Head { writer_id: WriterId::generate(), seq: 3, hash: Mac([1; 32]), written: 5 };
        let signed = sealer.sign_checkpoint(Checkpoint {
            kind: CheckpointKind::Heads,
            installation_id: Uuid::now_v7(),
            timestamp: Timestamp::from_millis(1_700_000_000_000),
            removed_before: None,
            writers: vec![head],
        });
        let text = serde_json::to_string(&signed).unwrap();
        let back: SignedCheckpoint = serde_json::from_str(&text).unwrap();
        assert_eq!(back, signed);
        assert!(sealer.has_signed(&back));
        let changed = |change: fn(&mut Checkpoint)| {
            let mut other = signed.clone();
            change(&mut other.checkpoint);
            sealer.has_signed(&other)
        };
        assert!(!changed(|it| it.kind = CheckpointKind::Retention));
        assert!(!changed(|it| it.writers[0].seq = 2));
        assert!(!changed(|it| it.writers[0].written = 4));
        assert!(!changed(|it| it.writers.clear()));
        assert!(!changed(|it| it.removed_before = Some(RecordId::generate())));
        let other = AuditKey::generate().unwrap().sealer().unwrap();
        assert!(!other.has_signed(&signed));
        assert!(signed.is_consistent());
    }
}
