//! Lines that can't be read, and how many records they may have been.

/// The least bytes of a record's line.
const LEAST_LINE: usize = 200;

/// Lines in a row that are no records of this writer, or not where their number belongs.
#[derive(Debug, Default)]
pub(super) struct Damage {
    pub(super) lines: Vec<Vec<u8>>,
}

impl Damage {
    pub(super) fn add(&mut self, raw: &[u8]) {
        self.lines.push(raw.to_vec());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether so many records may have stood here: a damaged line end makes one line of two.
    pub(super) fn has_room_for(&self, missing: u64) -> bool {
        let room: usize = self.lines.iter().map(|line| 1 + line.len() / LEAST_LINE).sum();
        missing <= room as u64
    }
}
