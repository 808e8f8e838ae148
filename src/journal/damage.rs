//! Lines that can't be read, and how many records they may have been.

use crate::proof::Sealed;

/// The least bytes of a record's line.
const LEAST_LINE: usize = 200;

/// Lines in a row that are no records, or whose numbers don't fit.
#[derive(Debug, Default)]
pub(super) struct Damage {
    pub(super) lines: Vec<Vec<u8>>,
    /// The last of them, where it is a record whose number does not fit.
    stray: Option<Sealed>,
}

impl Damage {
    pub(super) fn add(&mut self, raw: &[u8], stray: Option<Sealed>) {
        self.lines.push(raw.to_vec());
        self.stray = stray;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether so many records may have stood here: a damaged line end makes one line of two.
    pub(super) fn has_room_for(&self, missing: u64) -> bool {
        let room: usize = self.lines.iter().map(|line| 1 + line.len() / LEAST_LINE).sum();
        missing <= room as u64
    }

    /// The last line, if the number of the next shows that not it, but what was before it, is missing.
    pub(super) fn take_predecessor_of(&mut self, seq: u64, next_seq: u64) -> Option<Sealed> {
        let stray = self.stray.take_if(|stray| stray.seq > next_seq && stray.seq.checked_add(1) == Some(seq))?;
        self.lines.pop();
        Some(stray)
    }
}
