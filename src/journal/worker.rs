//! One thread's journal: appends of one turn of its event loop are one `write(2)`.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::files::segment_path;
use super::folder::{Folder, Progress};
use super::line::Pen;
use super::mint::Mint;
use super::sync::Dirty;
use super::{Fsync, JournalError};
use crate::domain::RecordId;
use crate::domain::audit::AuditEntry;

/// The present thread's journal. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct WorkerJournal {
    folder: Folder,
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    progress: Arc<Progress>,
    mint: Mint,
    pen: Pen,
    segment: Option<Segment>,
    next_seq: u64,
    buffer: Vec<u8>,
    turn: Option<Rc<Turn>>,
}

struct Segment {
    file: Arc<File>,
    dirty: Option<Arc<Dirty>>,
    length: u64,
    max_length: u64,
}

/// The appends that wait for the same write.
#[derive(Default)]
struct Turn {
    done: RefCell<Option<Result<(), JournalError>>>,
    waiting: RefCell<Vec<Waker>>,
}

/// Ready when the record is in the file (and, with `AUDIT_FSYNC=always`, on the disk).
#[must_use = "the answer has to wait for its record"]
pub struct Append(State);

enum State {
    Waiting { turn: Rc<Turn>, id: RecordId },
    Refused(Cell<Option<JournalError>>),
}

impl WorkerJournal {
    pub(super) fn new(folder: Folder, progress: Arc<Progress>) -> Result<Self, JournalError> {
        let inner = Inner {
            next_seq: progress.written() + 1,
            mint: Mint::after(progress.last_id()),
            pen: Pen::new(folder.sealer().clone(), progress.writer),
            progress,
            segment: None,
            buffer: Vec::with_capacity(64 << 10),
            turn: None,
        };
        let journal = Self { folder, inner: Rc::new(RefCell::new(inner)) };
        // A folder that can't be written shows at once.
        let opened = journal.inner.borrow().open(&journal.folder)?;
        journal.inner.borrow_mut().segment = Some(opened);
        Ok(journal)
    }

    /// Whether appends go well as far as is known.
    pub fn is_writable(&self) -> bool {
        self.folder.is_writable()
    }

    /// Appends an entry; on an actix worker's thread. What it gives is ready
    /// when the record is written.
    pub fn append(&self, entry: &AuditEntry<'_>) -> Append {
        if self.folder.is_full() {
            return Append::refused(JournalError::Full);
        }
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let stamp = inner.mint.next(self.folder.clock().now());
        if let Err(error) = inner.pen.write(&mut inner.buffer, inner.next_seq, stamp, entry) {
            return Append::refused(JournalError::Write(error.to_string()));
        }
        inner.next_seq += 1;
        let turn = match &inner.turn {
            Some(turn) => Rc::clone(turn),
            None => {
                let turn = Rc::new(Turn::default());
                inner.turn = Some(Rc::clone(&turn));
                let journal = self.clone();
                tokio::task::spawn_local(async move {
                    // Whoever is ready in this turn appends first.
                    tokio::task::yield_now().await;
                    journal.write();
                });
                turn
            }
        };
        Append(State::Waiting { turn, id: stamp.0 })
    }

    #[cfg(test)]
    pub(super) fn close_segment(&self) {
        self.inner.borrow_mut().segment = None;
    }

    /// Writes what was appended, and wakes those who wait for it.
    fn write(&self) {
        let mut guard = self.inner.borrow_mut();
        let Some(turn) = guard.turn.take() else { return };
        let done = guard.write(&self.folder);
        drop(guard);
        if let Err(error) = &done {
            self.folder.note_failure(error);
        }
        *turn.done.borrow_mut() = Some(done);
        for waker in turn.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }
}

impl Inner {
    fn write(&mut self, folder: &Folder) -> Result<(), JournalError> {
        let first_unwritten = self.progress.written() + 1;
        let written = self.write_buffer(folder);
        self.buffer.clear();
        match written {
            Ok(bytes) => {
                folder.note_written(bytes);
                self.progress.set_written(self.next_seq - 1);
                Ok(())
            }
            Err(error) => {
                // Their numbers are given again: what a torn write may have left
                // of them is behind the beginning of the next segment, and so out.
                self.next_seq = first_unwritten;
                self.segment = None;
                Err(error)
            }
        }
    }

    fn write_buffer(&mut self, folder: &Folder) -> Result<u64, JournalError> {
        let fail = |error: std::io::Error| JournalError::Write(error.to_string());
        let is_full = self.segment.as_ref().is_some_and(|segment| segment.length >= segment.max_length);
        if is_full || self.segment.is_none() {
            self.segment = Some(self.open(folder)?);
        }
        let Some(segment) = &mut self.segment else { return Err(JournalError::Write("no segment".into())) };
        if let Err(error) = (&*segment.file).write_all(&self.buffer) {
            if let Err(error) = segment.file.set_len(segment.length) {
                log::error!("a torn write stays in the audit journal: {error}");
            }
            return Err(fail(error));
        }
        let bytes = self.buffer.len() as u64;
        segment.length += bytes;
        match folder.settings().fsync {
            Fsync::Always => segment.file.sync_data().map_err(fail)?,
            Fsync::EverySecond => segment.dirty.iter().for_each(|dirty| dirty.mark()),
            Fsync::No => {}
        }
        Ok(bytes)
    }

    /// A new segment, which begins after the last number that is written.
    fn open(&self, folder: &Folder) -> Result<Segment, JournalError> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = segment_path(&folder.settings().folder, self.progress.writer, self.progress.written() + 1);
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| JournalError::Write(format!("{}: {error}", path.display())))?;
        let file = Arc::new(file);
        if folder.settings().fsync == Fsync::Always {
            folder.sync().map_err(|error| JournalError::Write(error.to_string()))?;
        }
        let dirty = folder.syncer().map(|syncer| syncer.watch(Arc::clone(&file)));
        folder.note_segment();
        Ok(Segment { file, dirty, length: 0, max_length: folder.segment_bytes() })
    }
}

impl Append {
    fn refused(error: JournalError) -> Self {
        Self(State::Refused(Cell::new(Some(error))))
    }
}

impl Future for Append {
    type Output = Result<RecordId, JournalError>;

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(JournalError::Full))),
            State::Waiting { turn, id } => match &*turn.done.borrow() {
                Some(Ok(())) => Poll::Ready(Ok(*id)),
                Some(Err(error)) => Poll::Ready(Err(error.clone())),
                None => {
                    turn.waiting.borrow_mut().push(ctx.waker().clone());
                    Poll::Pending
                }
            },
        }
    }
}
