//! The journal as who checks the log reads it: beside the process that has it, and without changing anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::files::{segment_after, segments};
use super::line::{Checker, Written};
use crate::domain::WriterId;
use crate::proof::Sealer;

/// What one writer's segments have.
#[derive(Debug)]
pub struct Inspected {
    /// The writer.
    pub writer: WriterId,
    /// The numbers whose lines hold, in runs without a gap.
    pub runs: Vec<RangeInclusive<u64>>,
    /// Lines that do not hold.
    pub damage: Vec<DamagedLine>,
}

/// A line that is no record of its writer, or not where its number belongs.
#[derive(Debug, Clone)]
pub struct DamagedLine {
    /// The segment.
    pub segment: PathBuf,
    /// Which line of it, from 1.
    pub line: u64,
    /// The last number before it.
    pub after: u64,
}

impl std::fmt::Display for DamagedLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of {}", self.line, self.segment.display())
    }
}

/// How many damaged lines of a writer are told apart.
const MOST_DAMAGE: usize = 100;

/// Reads all segments of a folder; one that goes meanwhile is in the database.
///
/// # Errors
/// `Read`.
pub fn inspect(folder: &Path, sealer: &Sealer) -> Result<Vec<Inspected>, JournalError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut writers: Vec<_> = segments(folder)?.into_iter().collect();
    writers.sort_by_key(|(writer, _)| *writer);
    writers.into_iter().map(|(writer, segments)| inspect_writer(writer, &segments, sealer)).collect()
}

fn inspect_writer(
    writer: WriterId,
    segments: &BTreeMap<u64, PathBuf>,
    sealer: &Sealer,
) -> Result<Inspected, JournalError> {
    let mut checker = Checker::new(sealer.clone(), writer);
    let mut found = Inspected { writer, runs: Vec::new(), damage: Vec::new() };
    for (first, path) in segments {
        let next = segment_after(segments, *first).unwrap_or(u64::MAX);
        let fail = |error: std::io::Error| JournalError::Read(format!("{}: {error}", path.display()));
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.map_err(fail)?,
        };
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let (mut raw, mut line, mut after) = (Vec::new(), 0, first.saturating_sub(1));
        loop {
            raw.clear();
            reader.read_until(b'\n', &mut raw).map_err(fail)?;
            // A torn line is none: nobody was told that it was written.
            let Some(text) = raw.strip_suffix(b"\n") else { break };
            line += 1;
            match checker.parse(text) {
                // A segment ends where the next one begins: what a torn write left behind that is no record.
                Some(Written::Record(sealed, _)) if sealed.seq >= next => break,
                Some(Written::Record(sealed, _)) if sealed.seq > after => {
                    after = sealed.seq;
                    match found.runs.last_mut() {
                        Some(run) if *run.end() + 1 == sealed.seq => *run = *run.start()..=sealed.seq,
                        _ => found.runs.push(sealed.seq..=sealed.seq),
                    }
                }
                Some(Written::Beginning(_)) => {}
                _ if found.damage.len() < MOST_DAMAGE => {
                    found.damage.push(DamagedLine { segment: path.clone(), line, after });
                }
                _ => {}
            }
        }
    }
    Ok(found)
}
