//! Records from a process beside the one that has the journal, as the command line.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::files::segment_path;
use super::line::{Pen, parse_line};
use super::mint::Mint;
use crate::clock::SharedClock;
use crate::domain::WriterId;
use crate::domain::audit::AuditEntry;
use crate::proof::{Sealed, Sealer};

/// Records that [`leave`] wrote.
#[derive(Debug)]
pub struct Left {
    /// Their writer, which writes no others.
    pub writer: WriterId,
    /// The records.
    pub lines: Vec<Sealed>,
    /// Their segment.
    pub path: PathBuf,
}

/// Writes records of a writer of its own, at once and as a whole: for a
/// process beside the one that has the journal, as the command line.
///
/// # Errors
/// `Write`.
pub fn leave(
    folder: &Path,
    clock: &SharedClock,
    sealer: &Sealer,
    entries: &[AuditEntry<'_>],
) -> Result<Left, JournalError> {
    let fail = |error: std::io::Error| JournalError::Write(error.to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    let writer = WriterId::generate();
    let (mut text, mut mint) = (Vec::new(), Mint::default());
    let mut pen = Pen::new(sealer.clone(), writer);
    for (seq, entry) in (1..).zip(entries) {
        pen.write(&mut text, seq, mint.next(clock.now()), None, entry)
            .map_err(|error| JournalError::Write(error.to_string()))?;
    }
    let path = segment_path(folder, writer, 1);
    let unfinished = path.with_extension("part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(fail)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&unfinished, &path).map_err(fail)?;
    // The new name has to outlive a power cut too.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(parse_line)
        .collect::<Result<_, _>>()
        .map_err(|error| JournalError::Write(error.to_string()))?;
    Ok(Left { writer, lines, path })
}
