//! One record from a process beside the one that has the journal, as the command line.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::files::segment_path;
use super::line::{Line, parse_line, write_line};
use super::mint::Mint;
use crate::clock::SharedClock;
use crate::domain::WriterId;
use crate::domain::audit::AuditEntry;

/// A record that [`leave`] wrote.
#[derive(Debug)]
pub struct Left {
    /// Its writer, which writes no other.
    pub writer: WriterId,
    /// The record.
    pub line: Line,
    /// Its segment.
    pub path: PathBuf,
}

/// Writes one record of a writer of its own, at once and as a whole: for a
/// process beside the one that has the journal, as the command line.
///
/// # Errors
/// `Write`.
pub fn leave(folder: &Path, clock: &SharedClock, entry: &AuditEntry<'_>) -> Result<Left, JournalError> {
    let fail = |error: std::io::Error| JournalError::Write(error.to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    let writer = WriterId::generate();
    let mut line = Vec::new();
    let stamp = Mint::default().next(clock.now());
    write_line(&mut line, 1, stamp, entry).map_err(|error| JournalError::Write(error.to_string()))?;
    let path = segment_path(folder, writer, 1);
    let unfinished = path.with_extension("part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(fail)?;
    file.write_all(&line).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&unfinished, &path).map_err(fail)?;
    // The new name has to outlive a power cut too.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
    let line = parse_line(&line[..line.len() - 1]).map_err(|error| JournalError::Write(error.to_string()))?;
    Ok(Left { writer, line, path })
}
