//! Signed checkpoints of the audit log: for the database, for the journal's folder, and for who asks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::clock::SharedClock;
use crate::domain::WriterId;
use crate::journal::{Folder, Fsync, keep_checkpoint};
use crate::proof::{Checkpoint, CheckpointKind, Head, Mac, SignedCheckpoint};
use crate::store::{ChainEnd, Store, StoreError, StoreResult};

/// How many checkpoints of the chains' ends the database keeps: each says all that an earlier one did.
const KEPT: u32 = 100;

/// Makes checkpoints. Cheap to clone.
#[derive(Clone)]
pub(super) struct Checkpoints {
    store: Store,
    folder: Folder,
    clock: SharedClock,
    installation: Uuid,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Where the chains ended when the database last said so.
    ends: Vec<(WriterId, ChainEnd)>,
    /// What was in this instance's journal at the look before: by now it is on the disk.
    written: HashMap<WriterId, u64>,
    /// What the last one said that was kept: what was signed once is not taken back.
    kept: Vec<Head>,
    is_failing: bool,
    has_gone_back: bool,
}

/// The heads, but none that says less than it did: whoever takes records out of the database, or puts others in
/// their place, does not get that signed. And whether there was such a one.
fn not_back(found: Vec<Head>, before: &[Head]) -> (Vec<Head>, bool) {
    let mut heads: HashMap<WriterId, Head> = found.into_iter().map(|head| (head.writer_id, head)).collect();
    let mut has_gone_back = false;
    for old in before {
        let head = heads.entry(old.writer_id).or_insert(Head { seq: 0, ..*old });
        if head.seq < old.seq || (head.seq == old.seq && head.hash != old.hash) {
            has_gone_back = true;
            (head.seq, head.hash) = (old.seq, old.hash);
        }
        head.written = head.written.max(old.written);
    }
    let mut heads: Vec<Head> = heads.into_values().collect();
    heads.sort_by_key(|head| head.writer_id);
    (heads, has_gone_back)
}

impl Checkpoints {
    pub(super) fn new(store: Store, folder: Folder, clock: SharedClock, installation: Uuid) -> Self {
        let known = Known { kept: folder.signed().to_vec(), ..Known::default() };
        Self { store, folder, clock, installation, known: Arc::new(Mutex::new(known)) }
    }

    /// A checkpoint of what is in the database now.
    pub(super) async fn make(&self) -> StoreResult<SignedCheckpoint> {
        let ends = self.store.chain_ends().await?;
        Ok(self.sign(ends))
    }

    fn sign(&self, ends: Vec<(WriterId, ChainEnd)>) -> SignedCheckpoint {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let head = |(writer_id, end): &(WriterId, ChainEnd)| {
            let written = known.written.get(writer_id).copied().unwrap_or(0).max(end.seq);
            Head { writer_id: *writer_id, seq: end.seq, hash: end.hash, written }
        };
        let in_database: HashSet<WriterId> = ends.iter().map(|(writer, _)| *writer).collect();
        // Those that have nothing in the database yet.
        let others = known.written.iter().filter(|(writer, written)| **written > 0 && !in_database.contains(writer));
        let other = |(writer_id, written): (&WriterId, &u64)| Head {
            writer_id: *writer_id,
            seq: 0,
            hash: Mac::START,
            written: *written,
        };
        let found: Vec<Head> = ends.iter().map(head).chain(others.map(other)).collect();
        let (writers, has_gone_back) = not_back(found, &known.kept);
        if has_gone_back && !known.has_gone_back {
            log::error!("the audit log has less than a signed checkpoint says: see `portcullis audit verify`");
        }
        known.has_gone_back = has_gone_back;
        known.ends = ends;
        self.folder.sealer().sign_checkpoint(Checkpoint {
            kind: CheckpointKind::Heads,
            installation_id: self.installation,
            timestamp: self.clock.now(),
            removed_before: None,
            writers,
        })
    }

    /// Keeps a checkpoint in the journal's folder, if anything has been written since the last one, and in the
    /// database, if it is there.
    pub(super) async fn keep(&self) {
        let kept = self.try_keep().await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let was_failing = std::mem::replace(&mut known.is_failing, kept.is_err());
        match kept {
            // It is said once.
            Err(error) if !was_failing => log::warn!("no checkpoint of the audit log is kept in the database: {error}"),
            _ => {}
        }
    }

    async fn try_keep(&self) -> StoreResult<()> {
        let found = self.store.chain_ends().await;
        let (ends, away) = match found {
            Ok(ends) => (ends, None),
            // What is in the journal is signed all the same.
            Err(error) => (self.known.lock().unwrap_or_else(PoisonError::into_inner).ends.clone(), Some(error)),
        };
        let signed = self.sign(ends);
        if !self.note(&signed) {
            return away.map_or(Ok(()), Err);
        }
        keep_checkpoint(&self.folder.settings().folder, &signed)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        if let Some(away) = away {
            return Err(away);
        }
        self.store.insert_checkpoint(&signed).await?;
        self.store.keep_newest_heads(KEPT).await.map(drop)
    }

    /// Notes what is in the journal for the next checkpoint; false, if this one says nothing new.
    fn note(&self, signed: &SignedCheckpoint) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // With `no`, nobody knows what the disk has.
        if self.folder.settings().fsync != Fsync::No {
            known.written = self.folder.live().iter().map(|live| (live.writer, live.written())).collect();
        }
        let is_new = known.kept != signed.checkpoint.writers;
        known.kept.clone_from(&signed.checkpoint.writers);
        is_new
    }
}
