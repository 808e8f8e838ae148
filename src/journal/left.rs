//! Records from a process beside the one that has the journal, as the command line.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::files::{last_in_files, make_private, parse_name, private_file, segment_path, sync_folder_of};
use super::line::{Begun, Checker, parse_line};
use super::mend::{open_beginnings, set_torn_line_aside, write_unfinished};
use super::mint::Mint;
use super::pen::Pen;
use crate::clock::SharedClock;
use crate::domain::WriterId;
use crate::domain::audit::AuditEntry;
use crate::proof::{Sealed, Sealer};

/// How the file is called until its records are there: no name of a segment, so nobody reads it.
const BEGUN: &str = "begun";

/// Changes that a process beside the one that has the journal is about to make, as a writer of its own.
///
/// Its file is locked (`flock`) for as long as the process lives: one that is there without a lock is of a
/// process that ended in the middle, and the service makes records of what it had begun.
pub struct Leaving {
    writer: WriterId,
    begun: Vec<Begun>,
    // Its lock ends with it.
    file: File,
    path: PathBuf,
    clock: SharedClock,
    sealer: Sealer,
}

/// Records that [`Leaving`] left.
#[derive(Debug)]
pub struct Left {
    /// Their writer, which writes no others.
    pub writer: WriterId,
    /// The records.
    pub lines: Vec<Sealed>,
    /// Their segment.
    pub path: PathBuf,
}

impl Leaving {
    /// Says what begins, on the disk; before the changes stand.
    ///
    /// # Errors
    /// `Write`.
    pub fn begin(
        folder: &Path,
        clock: SharedClock,
        sealer: Sealer,
        entries: &[AuditEntry<'_>],
    ) -> Result<Self, JournalError> {
        make_private(folder).map_err(failed)?;
        let writer = WriterId::generate();
        let mut pen = Pen::new(sealer.clone(), writer);
        let (mut text, mut begun) = (Vec::new(), Vec::new());
        for entry in entries {
            let this = Begun::generate();
            pen.write_begin(&mut text, this, clock.now(), entry).map_err(|error| failed(error.into()))?;
            begun.push(this);
        }
        let path = segment_path(folder, writer, 1).with_extension(BEGUN);
        // Under its name it is locked, and says all.
        let unfinished = path.with_extension("part");
        let mut file = private_file().read(true).append(true).create_new(true).open(&unfinished).map_err(failed)?;
        file.lock().map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&unfinished, &path).and_then(|()| sync_folder_of(&path)).map_err(failed)?;
        Ok(Self { writer, begun, file, path, clock, sealer })
    }

    /// Writes the records of all that has begun, in its order, as a whole.
    ///
    /// # Errors
    /// `Write`: then the log will say that it began, and no more.
    pub fn finish(mut self, entries: &[AuditEntry<'_>]) -> Result<Left, JournalError> {
        let (mut pen, mut mint) = (Pen::new(self.sealer, self.writer), Mint::default());
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        for ((seq, entry), begun) in (1..).zip(entries).zip(self.begun) {
            let start = text.len();
            pen.write(&mut text, seq, mint.next(self.clock.now()), Some(begun), entry)
                .map_err(|error| failed(error.into()))?;
            lines.push(parse_line(text[start..].trim_ascii_end()).map_err(|error| failed(error.into()))?);
        }
        self.file.write_all(&text).and_then(|()| self.file.sync_all()).map_err(failed)?;
        let path = become_segment(&self.path).map_err(failed)?;
        Ok(Left { writer: self.writer, lines, path })
    }
}

fn failed(error: std::io::Error) -> JournalError {
    JournalError::Write(error.to_string())
}

/// Gives a file the name by which it is read.
fn become_segment(path: &Path) -> std::io::Result<PathBuf> {
    let segment = path.with_extension("ndjson");
    std::fs::rename(path, &segment)?;
    // The new name has to outlive a power cut too.
    sync_folder_of(&segment)?;
    Ok(segment)
}

/// Makes records of what processes had begun that ended in the middle; those that still run are left alone.
pub(super) fn take_over_begun(folder: &Path, clock: &SharedClock, sealer: &Sealer) -> Result<(), JournalError> {
    let read = |error: std::io::Error| JournalError::Read(format!("{}: {error}", folder.display()));
    for file in std::fs::read_dir(folder).map_err(read)? {
        let path = file.map_err(read)?.path();
        if path.extension().is_some_and(|ending| ending == BEGUN) {
            take_over(folder, &path, clock, sealer)?;
        }
    }
    Ok(())
}

fn take_over(folder: &Path, path: &Path, clock: &SharedClock, sealer: &Sealer) -> Result<(), JournalError> {
    let Some((writer, first)) = parse_name(&path.with_extension("ndjson")) else { return Ok(()) };
    let mut file = match private_file().read(true).append(true).open(path) {
        // It has become a segment.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // Its process may have ended well between the two.
    let inode = file.metadata().map_err(failed)?.ino();
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode) {
        return Ok(());
    }
    set_torn_line_aside(folder, path).map_err(failed)?;
    let segments = [(first, path.to_owned())].into();
    let mut checker = Checker::new(sealer.clone(), writer);
    let last = last_in_files(&segments, &mut checker)?;
    let open = open_beginnings(&segments, &mut checker)?;
    let mut text = Vec::new();
    let mut pen = Pen::new(sealer.clone(), writer);
    write_unfinished(&mut text, last, &open, &mut checker, clock, &mut Mint::after(last.1), &mut pen)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    become_segment(path).map_err(failed)?;
    Ok(())
}
