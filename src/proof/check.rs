//! Whether a log is whole: each record against its seal and the one before, and the ends of the chains
//! against what was signed. Constant memory: a few numbers for each writer.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;

use super::{Checkpoint, Fields, Head, Mac, Sealer};
use crate::domain::audit::StandIn;
use crate::domain::{RecordId, Timestamp, WriterId};

/// Why a log is not whole: the first record that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The fields do not fit the hash.
    #[error("record {id} was changed: what stands there does not fit its hash ({place})")]
    Changed {
        /// The record.
        id: RecordId,
        /// Its number.
        place: Place,
    },
    /// Numbers that no record has.
    #[error("{} removed: writer {writer} has none between the records before and record {next}", numbers(range))]
    Removed {
        /// The writer.
        writer: WriterId,
        /// The numbers.
        range: RangeInclusive<u64>,
        /// The record that follows.
        next: RecordId,
    },
    /// A number that was there before.
    #[error("record {id} was put in or moved: {place} is not its own")]
    PutIn {
        /// The record.
        id: RecordId,
        /// Its number.
        place: Place,
    },
    /// A writer that the log does not know.
    #[error("record {id} was put in: the log has no writer {writer}")]
    Unknown {
        /// The record.
        id: RecordId,
        /// What it says who wrote it.
        writer: WriterId,
    },
    /// The end of a chain is missing.
    #[error("{} cut off the end of writer {writer}", numbers(range))]
    CutOff {
        /// The writer.
        writer: WriterId,
        /// The numbers.
        range: RangeInclusive<u64>,
    },
    /// The log's own note of a chain's end is another one.
    #[error("the last record of writer {writer}, number {seq}, is not the one that the log was ended with")]
    OtherEnd {
        /// The writer.
        writer: WriterId,
        /// The number.
        seq: u64,
    },
    /// A signed checkpoint says otherwise.
    #[error("{} is not what the checkpoint of {at} signed: the log was rewritten up to there, or beyond", named(*id, place))]
    Rewritten {
        /// The record; `None` where there is none of that number.
        id: Option<RecordId>,
        /// Its number.
        place: Place,
        /// When the checkpoint was made.
        at: Timestamp,
    },
    /// There is no hash to compare with.
    #[error("record {id} has no hash: it was taken away, or a build wrote the record that had no seals yet ({place})")]
    Unsealed {
        /// The record.
        id: RecordId,
        /// Its number.
        place: Place,
    },
    /// A number that no record can have.
    #[error("record {id} was changed: one of its numbers is one that no record can have")]
    Impossible {
        /// The record.
        id: RecordId,
    },
    /// A row that can't be what was written.
    #[error("the {} was changed: {why}", following(*after))]
    Unreadable {
        /// The record before it, in order of ids.
        after: Option<RecordId>,
        /// Why it can't be read.
        why: String,
    },
    /// A line of the journal.
    #[error("a line of the journal does not hold: {0}")]
    Journal(String),
    /// A checkpoint that is none of this log's.
    #[error("{0}")]
    Checkpoint(String),
}

fn numbers(range: &RangeInclusive<u64>) -> String {
    match range.end() - range.start() {
        0 => format!("record number {} was", range.start()),
        _ => format!("records number {} to {} were", range.start(), range.end()),
    }
}

fn named(id: Option<RecordId>, place: &Place) -> String {
    match id {
        Some(id) => format!("record {id} ({place})"),
        None => format!("the record {place}"),
    }
}

fn following(after: Option<RecordId>) -> String {
    match after {
        Some(id) => format!("record after record {id}"),
        None => "first record".to_owned(),
    }
}

/// A number in a writer's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The writer.
    pub writer: WriterId,
    /// The number.
    pub seq: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {} of writer {}", self.seq, self.writer)
    }
}

/// Records that were set aside, as the log itself says under its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The record that says so.
    pub id: RecordId,
    /// Which numbers.
    pub writer: WriterId,
    /// From the first to the last.
    pub range: RangeInclusive<u64>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.range.end() - self.range.start() + 1;
        let (first, writer) = (self.range.start(), self.writer);
        write!(f, "{count} from number {first} of writer {writer} on, said by record {}: {}", self.id, self.reason)
    }
}

/// A record as it stands in the log.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Its writer.
    pub writer: WriterId,
    /// Its number.
    pub seq: u64,
    /// Its hash, if it has one.
    pub hash: Option<&'a [u8]>,
    /// The rest.
    pub fields: Fields<'a>,
}

/// How far one writer's chain was followed.
#[derive(Debug, Clone, Copy)]
struct Chain {
    seq: u64,
    hash: Mac,
}

/// Follows the chains of all writers, record by record in order of ids.
pub struct Check {
    sealer: Sealer,
    scratch: Vec<u8>,
    /// Where the log says that its chains end: what was written since then is not looked at.
    ends: HashMap<WriterId, (u64, Mac)>,
    chains: HashMap<WriterId, Chain>,
    signed: HashMap<WriterId, VecDeque<(Head, Timestamp)>>,
    /// What is older may still be there, and is not looked at.
    removed_before: Option<RecordId>,
    /// Of each writer the record of the greatest number that lies beyond the end of its chain.
    beyond: HashMap<WriterId, (u64, RecordId)>,
    /// How many records were not looked at, for they are still to be removed.
    unproved: u64,
    /// How many signed heads were found as they were signed.
    compared: u64,
    checked: u64,
    gaps: Vec<Gap>,
}

impl Check {
    /// Of a log whose chains end so.
    pub fn new(sealer: Sealer, ends: HashMap<WriterId, (u64, Mac)>) -> Self {
        Self {
            sealer,
            scratch: Vec::with_capacity(1024),
            ends,
            chains: HashMap::new(),
            signed: HashMap::new(),
            removed_before: None,
            beyond: HashMap::new(),
            unproved: 0,
            compared: 0,
            checked: 0,
            gaps: Vec::new(),
        }
    }

    /// A writer's chain is followed from here on: after the last record that is not looked at.
    ///
    /// # Errors
    /// A checkpoint has signed another one.
    pub fn begin(&mut self, writer: WriterId, seq: u64, hash: Mac) -> Result<(), Finding> {
        self.chains.insert(writer, Chain { seq, hash });
        self.compare(writer, seq, &hash, None)
    }

    /// The chains are followed from where retention has signed that they go on: what is older than this id, and
    /// not after these heads, may still be there, and is not looked at.
    ///
    /// # Errors
    /// A checkpoint has signed another one.
    pub fn begin_after<'a>(
        &mut self,
        removed_before: Option<RecordId>,
        heads: impl IntoIterator<Item = &'a Head>,
    ) -> Result<(), Finding> {
        self.removed_before = removed_before;
        heads.into_iter().try_for_each(|head| self.begin(head.writer_id, head.seq, head.hash))
    }

    /// Whether it is known where a writer's chain is followed from.
    pub fn knows(&self, writer: WriterId) -> bool {
        self.chains.contains_key(&writer)
    }

    /// What was signed has to be found. Before the first record, and before [`Check::begin`].
    pub fn expect(&mut self, checkpoint: &Checkpoint) {
        for head in checkpoint.writers.iter().filter(|head| head.seq > 0) {
            let signed = self.signed.entry(head.writer_id).or_default();
            let at = signed.partition_point(|(other, _)| other.seq <= head.seq);
            signed.insert(at, (*head, checkpoint.timestamp));
        }
    }

    /// Whether a record is the one that was signed under its number. What was signed of earlier ones has been
    /// compared, or lies before what is looked at.
    fn compare(&mut self, writer: WriterId, seq: u64, hash: &Mac, id: Option<RecordId>) -> Result<(), Finding> {
        let Some(signed) = self.signed.get_mut(&writer) else { return Ok(()) };
        while let Some((head, at)) = signed.pop_front_if(|(head, _)| head.seq <= seq) {
            if head.seq == seq {
                if !head.hash.is(hash) {
                    return Err(Finding::Rewritten { id, place: Place { writer, seq }, at });
                }
                self.compared += 1;
            }
        }
        Ok(())
    }

    /// Looks at the next record.
    ///
    /// # Errors
    /// It does not hold.
    pub fn take(&mut self, stored: &Stored<'_>) -> Result<(), Finding> {
        let (writer, seq, id) = (stored.writer, stored.seq, stored.fields.id);
        let place = Place { writer, seq };
        if self.ends.get(&writer).is_none_or(|(end, _)| seq > *end) {
            // Written since then, or put in: the ends as they are afterwards will tell.
            let beyond = self.beyond.entry(writer).or_insert((seq, id));
            *beyond = (*beyond).max((seq, id));
            return Ok(());
        }
        let chain = self.chains.entry(writer).or_insert(Chain { seq: 0, hash: Mac::START });
        if seq <= chain.seq && self.removed_before.is_some_and(|first| id < first) {
            self.unproved += 1;
            return Ok(());
        }
        if seq <= chain.seq {
            return Err(Finding::PutIn { id, place });
        }
        // Under the seal, which is looked at below: only the service writes this action.
        let stand_in = StandIn::of(stored.fields.action, stored.fields.metadata);
        let first = stand_in.as_ref().and_then(|stand_in| stand_in.first).unwrap_or(seq);
        if first != chain.seq + 1 {
            return Err(match seq - chain.seq {
                1 => Finding::Changed { id, place },
                _ => Finding::Removed { writer, range: chain.seq + 1..=seq - 1, next: id },
            });
        }
        let seal = self.sealer.seal_with(&mut self.scratch, writer, seq, &stored.fields);
        let hash = self.sealer.link(&chain.hash, &seal);
        let found = stored.hash.ok_or(Finding::Unsealed { id, place })?;
        if !Mac::try_from(found).is_ok_and(|found| found.is(&hash)) {
            return Err(Finding::Changed { id, place });
        }
        *chain = Chain { seq, hash };
        self.checked += 1;
        if let Some(StandIn { reason, .. }) = stand_in {
            self.gaps.push(Gap { id, writer, range: first..=seq, reason });
        }
        self.compare(writer, seq, &hash, Some(id))
    }

    /// Whether all that lay beyond the chains' ends was written since then: with the ends as they are now.
    ///
    /// # Errors
    /// A record has a number that its writer has not come to.
    pub fn settle(&self, now: &HashMap<WriterId, (u64, Mac)>) -> Result<(), Finding> {
        let put_in = |(writer, (seq, id)): (&WriterId, &(u64, RecordId))| match now.get(writer) {
            Some((end, _)) if seq <= end => None,
            Some(_) => Some(Finding::PutIn { id: *id, place: Place { writer: *writer, seq: *seq } }),
            None => Some(Finding::Unknown { id: *id, writer: *writer }),
        };
        let mut beyond: Vec<_> = self.beyond.iter().collect();
        beyond.sort();
        beyond.into_iter().find_map(put_in).map_or(Ok(()), Err)
    }

    /// How far the chain of each writer was followed: the number of the last record that held, and its hash.
    pub fn reached(&self) -> impl Iterator<Item = (WriterId, u64, Mac)> {
        let followed = self.chains.iter().filter(|(_, chain)| chain.seq > 0);
        followed.map(|(writer, chain)| (*writer, chain.seq, chain.hash))
    }

    /// How many records are older than what retention removes, and were not looked at.
    pub fn unproved(&self) -> u64 {
        self.unproved
    }

    /// How many signed heads were found as they were signed.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// How many records held.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// What the log says that it has not.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Whether the chains end where they should; after the last record of the log.
    ///
    /// # Errors
    /// Records are missing at an end, or a checkpoint counted what is not there.
    pub fn finish(&self) -> Result<(), Finding> {
        let mut ends: Vec<_> = self.ends.iter().collect();
        ends.sort();
        for (writer, (end, hash)) in ends {
            let Chain { seq, hash: found } =
                self.chains.get(writer).copied().unwrap_or(Chain { seq: 0, hash: Mac::START });
            if seq < *end {
                return Err(Finding::CutOff { writer: *writer, range: seq + 1..=*end });
            }
            if !found.is(hash) {
                return Err(Finding::OtherEnd { writer: *writer, seq });
            }
        }
        let missing = self.signed.values().filter_map(VecDeque::front);
        match missing.min_by_key(|(head, at)| (*at, head.writer_id)) {
            Some((head, at)) => {
                let place = Place { writer: head.writer_id, seq: head.seq };
                Err(Finding::Rewritten { id: None, place, at: *at })
            }
            None => Ok(()),
        }
    }
}
