//! What a process that ended in the middle has left: a torn line, and beginnings without their records.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::JournalError;
use super::files::{create_segment, last_in_files, segment_after, segment_path, set_aside};
use super::line::{Beginning, Begun, Checker, Written, may_begin_or_end};
use super::mint::Mint;
use super::pen::Pen;
use crate::clock::SharedClock;
use crate::domain::audit::{AuditEntry, AuditRecord};
use crate::domain::{RecordId, WriterId};
use crate::proof::Sealer;

/// Lines of beginnings, newline included, in the order of their time.
pub(super) type Beginnings = BTreeMap<Begun, Vec<u8>>;

/// What there is of a writer whose process has ended.
pub(super) struct Estate<'a> {
    pub(super) folder: &'a Path,
    pub(super) writer: WriterId,
    pub(super) segments: BTreeMap<u64, PathBuf>,
    /// The last number that the database has.
    pub(super) in_database: u64,
    /// No id that it has given is known to be greater than this, where its files have none.
    pub(super) last_time: Option<RecordId>,
    /// The last number that a signed checkpoint has counted in the files.
    pub(super) counted: u64,
}

impl Estate<'_> {
    /// Sets a torn line aside, and gives each beginning that has no record one, in a segment that follows. Once: what
    /// is done here is found done by the next who looks. Gives the last number, and the last id.
    pub(super) fn settle(self, clock: &SharedClock, sealer: &Sealer) -> Result<(u64, Option<RecordId>), JournalError> {
        let mut checker = Checker::new(sealer.clone(), self.writer);
        if let Some(last) = self.segments.values().next_back() {
            set_torn_line_aside(self.folder, last)
                .map_err(|error| JournalError::Write(format!("{}: {error}", last.display())))?;
        }
        let (in_files, last_id) = last_in_files(&self.segments, &mut checker)?;
        let mut last_id = last_id.max(self.last_time);
        let known = in_files.max(self.in_database);
        let open = open_beginnings(&self.segments, &mut checker)?;
        let (mut mint, mut pen) = (Mint::after(last_id), Pen::new(sealer.clone(), self.writer));
        let (mut text, mut last) = (Vec::new(), known);
        if self.counted > last {
            // Cut off, or lost with a disk: the numbers are not given again, and the log says that they are missing.
            let (first, folder) = (last + 1, self.folder.display());
            log::error!("{folder}: audit records {first} to {} of writer {} are gone", self.counted, self.writer);
            last = self.counted + 1;
            let stamp = mint.next(clock.now());
            last_id = Some(stamp.0);
            let counted = self.counted;
            let why = format!("the journal ended before records {first} to {counted}, which a checkpoint had counted");
            // The reader puts another record in the place of those.
            let says_so = AuditRecord::unreadable(stamp.0, &why);
            pen.write(&mut text, last, stamp, None, &(&says_so).into())
                .map_err(|error| JournalError::Write(error.to_string()))?;
        } else if open.is_empty() {
            return Ok((last, last_id));
        }
        let (last, last_id) =
            write_unfinished(&mut text, (last, last_id), &open, &mut checker, clock, &mut mint, &mut pen)?;
        // The first number that the files do not have: a segment of that name has nothing but beginnings, all
        // of which end here.
        create_segment(&segment_path(self.folder, self.writer, known + 1), &text, true)
            .map_err(|error| JournalError::Write(error.to_string()))?;
        Ok((last, last_id))
    }
}

/// Appends a record for each beginning, from the number after the last one on; gives the last number and id.
pub(super) fn write_unfinished(
    text: &mut Vec<u8>,
    (mut last, mut last_id): (u64, Option<RecordId>),
    open: &Beginnings,
    checker: &mut Checker,
    clock: &SharedClock,
    mint: &mut Mint,
    pen: &mut Pen,
) -> Result<(u64, Option<RecordId>), JournalError> {
    for line in open.values() {
        let Some(Written::Beginning(beginning)) = checker.parse(line.trim_ascii_end()) else { continue };
        let stamp = mint.next(clock.now());
        let begun = beginning.begun;
        let entry = unfinished(beginning);
        log::warn!(
            "{} ({}) had begun when its process ended: it is recorded as an error",
            entry.action,
            entry.request_id.as_deref().unwrap_or("no request")
        );
        pen.write(text, last + 1, stamp, Some(begun), &entry)
            .map_err(|error| JournalError::Write(error.to_string()))?;
        (last, last_id) = (last + 1, Some(stamp.0));
    }
    Ok((last, last_id))
}

/// The record of what has begun, and whose end nobody knows.
fn unfinished(beginning: Beginning<'_>) -> AuditEntry<'_> {
    let metadata = beginning.entry.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let mut metadata: Map<String, Value> = metadata.unwrap_or_default();
    metadata.insert("unfinished".to_owned(), true.into());
    metadata.insert("began".to_owned(), serde_json::json!(beginning.timestamp));
    AuditEntry { metadata: Some(Cow::Owned(Value::Object(metadata).to_string())), ..beginning.entry }
}

/// The beginnings in a writer's segments that have no record there.
pub(super) fn open_beginnings(
    segments: &BTreeMap<u64, PathBuf>,
    checker: &mut Checker,
) -> Result<Beginnings, JournalError> {
    let mut open = Beginnings::new();
    for (first, path) in segments {
        // A segment ends where the next one begins: what stands there was written anew.
        let next = segment_after(segments, *first).unwrap_or(u64::MAX);
        let fail = |error: std::io::Error| JournalError::Read(format!("{}: {error}", path.display()));
        let mut reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(fail)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(fail)?;
            let Some(text) = line.strip_suffix(b"\n") else { break };
            if !may_begin_or_end(text) {
                continue;
            }
            match checker.parse(text) {
                Some(Written::Beginning(beginning)) => {
                    open.insert(beginning.begun, line.clone());
                }
                Some(Written::Record(record, Some(begun))) if record.seq < next => {
                    open.remove(&begun);
                }
                _ => {}
            }
        }
    }
    Ok(open)
}

/// Cuts off what stands behind the last newline, once it is kept elsewhere.
pub(super) fn set_torn_line_aside(folder: &Path, path: &Path) -> std::io::Result<()> {
    /// How much is read at once.
    const STEP: u64 = 64 << 10;
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let length = file.metadata()?.len();
    let (mut start, mut torn) = (length, Vec::new());
    while start > 0 {
        let step = STEP.min(start);
        let mut piece = vec![0; usize::try_from(step).unwrap_or_default()];
        file.seek(SeekFrom::Start(start - step))?;
        file.read_exact(&mut piece)?;
        let end = piece.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        torn.splice(0..0, piece[end.unwrap_or(0)..].iter().copied());
        start -= step - end.unwrap_or(0) as u64;
        if end.is_some() {
            break;
        }
    }
    if torn.is_empty() {
        return Ok(());
    }
    let (bytes, path) = (torn.len(), path.display());
    log::warn!("{path}: the last {bytes} bytes are a torn line, which nobody was told of: kept in set-aside.ndjson");
    set_aside(folder, &[torn])?;
    file.set_len(start)?;
    file.sync_all()
}
