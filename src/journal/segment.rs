//! Reads a writer's segments in order, whole lines only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::JournalError;
use super::damage::Damage;
use super::files::segment_after;
use super::line::{Checker, Written};
use super::mint::following;
use crate::domain::audit::AuditRecord;
use crate::domain::{RecordId, WriterId};
use crate::proof::{Sealed, Sealer};

/// Lines that were read and are not in the database yet.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order of their numbers; for a number whose line can't be read, a record that says so.
    pub lines: Vec<Sealed>,
    /// Whole lines that are no records, or not where their number belongs.
    pub unreadable: Vec<Vec<u8>>,
    /// Segments that end with this batch: once it is in the database, they may go.
    pub finished: Vec<PathBuf>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.unreadable.is_empty() && self.finished.is_empty()
    }
}

/// The place in one writer's segments up to which was read.
#[derive(Debug)]
pub struct Reader {
    writer: WriterId,
    segments: BTreeMap<u64, PathBuf>,
    place: Option<Place>,
    /// Numbers up to this one are in the database.
    committed: u64,
    last_id: Option<RecordId>,
    sealer: Sealer,
    checker: Checker,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// The segment, by its first number.
    first: u64,
    /// Its file: one that takes the name of another is read from its beginning.
    inode: Option<u64>,
    /// Up to this byte everything was read.
    offset: u64,
    /// The number that the next line has.
    next_seq: u64,
}

impl Place {
    fn start_of(first: u64) -> Self {
        Self { first, inode: None, offset: 0, next_seq: first }
    }

    fn in_file(self, inode: u64) -> Self {
        let start = if self.inode.is_none_or(|before| before == inode) { self } else { Self::start_of(self.first) };
        Self { inode: Some(inode), ..start }
    }
}

impl Reader {
    /// At the beginning of a writer's segments, of which the database has
    /// everything up to `committed`.
    pub fn new(writer: WriterId, committed: u64, sealer: Sealer) -> Self {
        let checker = Checker::new(sealer.clone(), writer);
        Self { writer, segments: BTreeMap::new(), place: None, committed, last_id: None, sealer, checker }
    }

    /// The writer.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// The last number that is in the database.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Everything up to this number is in the database now.
    pub fn commit(&mut self, seq: u64) {
        self.committed = self.committed.max(seq);
    }

    /// Which segments there are by now.
    pub fn look_at(&mut self, segments: BTreeMap<u64, PathBuf>) {
        self.segments = segments;
    }

    /// Whether a segment follows the one that is read, so that this one ends.
    pub fn has_closed_segment(&self) -> bool {
        let first = self.place.map(|place| place.first).or_else(|| self.segments.keys().next().copied());
        first.is_some_and(|first| segment_after(&self.segments, first).is_some())
    }

    /// The next lines, about `max` at most, with numbers up to `limit`. `is_live`:
    /// the writer may still append to the last segment.
    ///
    /// # Errors
    /// A segment can't be read.
    pub fn read(&mut self, max: usize, limit: u64, is_live: bool) -> Result<Batch, JournalError> {
        let mut batch = Batch::default();
        while batch.lines.len() < max {
            let start = || self.segments.keys().next().map(|first| Place::start_of(*first));
            let Some(place) = self.place.or_else(start) else { break };
            let Some(path) = self.segments.get(&place.first).cloned() else {
                // Deleted behind our back: go on with what follows.
                self.place = segment_after(&self.segments, place.first).map(Place::start_of);
                if self.place.is_none() {
                    break;
                }
                continue;
            };
            self.place = Some(place);
            let next = segment_after(&self.segments, place.first);
            // A segment ends where the next one begins: what a torn write left behind that is no record.
            let end = next.map_or(limit, |next| limit.min(next - 1));
            let is_known = next.is_some() && end <= self.committed;
            let is_open = is_live && next.is_none();
            if !is_known && !self.read_segment(&path, place, (end, is_open), max, &mut batch)? {
                break;
            }
            let has_records = self.place.is_some_and(|place| place.next_seq > place.first);
            match next {
                Some(next) if next <= limit.saturating_add(1) => {
                    batch.finished.push(path);
                    self.place = Some(Place::start_of(next));
                }
                // A worker that becomes this writer begins another segment then, by another name.
                None if !is_live && has_records => {
                    batch.finished.push(path);
                    self.segments.remove(&place.first);
                    self.place = None;
                    break;
                }
                _ => break,
            }
        }
        Ok(batch)
    }

    /// Reads on in one segment; true where it has no more that may be read.
    fn read_segment(
        &mut self,
        path: &Path,
        start: Place,
        (limit, is_open): (u64, bool),
        max: usize,
        batch: &mut Batch,
    ) -> Result<bool, JournalError> {
        let fail = |error: std::io::Error| JournalError::Read(format!("{}: {error}", path.display()));
        let mut file = File::open(path).map_err(fail)?;
        let start = start.in_file(file.metadata().map_err(fail)?.ino());
        file.seek(SeekFrom::Start(start.offset)).map_err(fail)?;
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let (mut raw, mut damage, mut place) = (Vec::new(), Damage::default(), start);
        let mut offset = start.offset;
        while batch.lines.len() < max {
            if place.next_seq > limit && damage.is_empty() {
                return Ok(true);
            }
            raw.clear();
            let length = reader.read_until(b'\n', &mut raw).map_err(fail)? as u64;
            if raw.last() != Some(&b'\n') {
                // The end, or a torn line: nobody was told that it was written, unless its segment was cut. What is
                // missing in an open segment may stand in the next one, which was not seen yet.
                if is_open {
                    return Ok(true);
                }
                let end = if limit == u64::MAX { place.next_seq + damage.lines.len() as u64 } else { limit + 1 };
                if !raw.is_empty() {
                    damage.add(&raw);
                }
                self.stand_in(path, place.next_seq..end, None, damage, batch);
                self.place = Some(Place { offset, next_seq: end, ..place });
                return Ok(true);
            }
            offset += length;
            let text = &raw[..raw.len() - 1];
            let line = match self.checker.parse(text) {
                Some(Written::Record(line, _)) if line.seq >= place.next_seq => line,
                Some(Written::Beginning(_)) => continue,
                // A line whose number was read before is a copy, or was moved.
                _ => {
                    damage.add(text);
                    continue;
                }
            };
            let seq = line.seq;
            let missing = place.next_seq..seq.min(limit.saturating_add(1));
            self.stand_in(path, missing, Some(line.record.id), std::mem::take(&mut damage), batch);
            if seq > limit {
                // What a torn write left: its numbers were given again.
                return Ok(true);
            }
            self.last_id = Some(line.record.id);
            if seq > self.committed {
                batch.lines.push(line);
            }
            place = Place { offset, next_seq: seq + 1, ..place };
            self.place = Some(place);
        }
        Ok(false)
    }

    /// Puts a record that says so in the place of each that is missing, and sets aside what stood there.
    fn stand_in(
        &mut self,
        path: &Path,
        missing: Range<u64>,
        next: Option<RecordId>,
        damage: Damage,
        batch: &mut Batch,
    ) {
        let fresh = missing.start.max(self.committed + 1)..missing.end;
        if fresh.is_empty() {
            // Said before, or lines that no number is missing for.
            if missing.is_empty() && missing.start > self.committed {
                batch.unreadable.extend(damage.lines);
            }
            return;
        }
        let count = fresh.end - fresh.start;
        log::error!("{}: {count} audit records from number {} on can't be read", path.display(), fresh.start);
        // One for each line, or one for all that were cut out: it has the last of their numbers.
        let (each, first) = match damage.has_room_for(count) {
            true => (fresh, None),
            false => (fresh.end - 1..fresh.end, Some(fresh.start)),
        };
        batch.unreadable.extend(damage.lines);
        // Before the record that follows, also where none before it was read.
        let least = next.map(|next| RecordId::least_of(next.time().minus(Duration::from_millis(1))));
        for seq in each {
            self.last_id = self.last_id.or(least);
            let id = self.last_id.map_or_else(RecordId::generate, following);
            self.last_id = Some(id);
            let record = match first {
                Some(first) => AuditRecord::missing(id, first, seq),
                None => AuditRecord::unreadable(id, "a line of the journal can't be read"),
            };
            batch.lines.push(self.sealer.sealed(self.writer, seq, record));
        }
    }

    /// Whether a reader of a folder's writer has nothing more to do, so that it can be forgotten.
    pub fn is_exhausted(&self) -> bool {
        self.segments.is_empty()
    }
}
