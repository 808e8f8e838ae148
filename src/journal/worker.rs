//! One thread's journal: appends of one turn of its event loop are one `write(2)`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::files::segment_path;
use super::folder::{Folder, Progress};
use super::line::Begun;
use super::mend::Beginnings;
use super::mint::Mint;
use super::open_segment::OpenSegment;
use super::pen::Pen;
use super::{Fsync, JournalError};
use crate::domain::RecordId;
use crate::domain::audit::AuditEntry;

/// So many changes may have begun on a thread and wait for their end: their lines go along into each new segment.
const MOST_OPEN: usize = 4096;

/// The present thread's journal. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct WorkerJournal {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    folder: Folder,
    progress: Arc<Progress>,
    mint: Mint,
    pen: Pen,
    segment: Option<OpenSegment>,
    /// Segments before, whose last bytes are not known to be on the disk.
    closed: Vec<OpenSegment>,
    next_seq: u64,
    /// What has begun and has no record yet: its lines go along into each new segment.
    open: Beginnings,
    buffer: Vec<u8>,
    /// The beginnings in the buffer, and what the records in it end.
    beginning: Vec<(Begun, Range<usize>)>,
    ending: Vec<Begun>,
    turn: Option<Rc<Turn>>,
    /// Says that a segment could not be synced.
    wake: Arc<Notify>,
}

/// The appends that wait for the same write.
#[derive(Default)]
struct Turn {
    done: RefCell<Option<Result<(), JournalError>>>,
    waiting: RefCell<Vec<Waker>>,
}

/// Ready when the line is in the file (and, with `AUDIT_FSYNC=always`, on the disk).
#[must_use = "the answer has to wait for its record"]
pub struct Append<T = RecordId>(State<T>);

enum State<T> {
    Waiting { turn: Rc<Turn>, value: T },
    Refused(Cell<Option<JournalError>>),
}

impl WorkerJournal {
    pub(super) fn new(folder: Folder, progress: Arc<Progress>) -> Result<Self, JournalError> {
        let mut inner = Inner {
            next_seq: progress.written() + 1,
            mint: Mint::after(progress.last_id()),
            pen: Pen::new(folder.sealer().clone(), progress.writer),
            progress,
            segment: None,
            closed: Vec::new(),
            open: Beginnings::new(),
            buffer: Vec::with_capacity(64 << 10),
            beginning: Vec::new(),
            ending: Vec::new(),
            turn: None,
            wake: Arc::default(),
            folder,
        };
        // A folder that can't be written shows at once.
        inner.rotate()?;
        let journal = Self { inner: Rc::new(RefCell::new(inner)) };
        if journal.inner.borrow().folder.syncer().is_some() {
            journal.write_anew_when_told();
        }
        Ok(journal)
    }

    /// Without appends nobody would see that a sync has failed.
    fn write_anew_when_told(&self) {
        let (inner, wake) = (Rc::downgrade(&self.inner), Arc::clone(&self.inner.borrow().wake));
        tokio::task::spawn_local(async move {
            loop {
                wake.notified().await;
                let Some(inner) = inner.upgrade() else { return };
                let mut inner = inner.borrow_mut();
                if let Err(error) = inner.write_anew() {
                    inner.folder.note_failure(&error);
                }
            }
        });
    }

    /// Whether appends go well as far as is known.
    pub fn is_writable(&self) -> bool {
        self.inner.borrow().folder.is_writable()
    }

    /// Appends an entry; on an actix worker's thread. What it gives is ready
    /// when the record is written. With `begun` it is the record of that.
    pub fn append(&self, entry: &AuditEntry<'_>, begun: Option<Begun>) -> Append {
        self.put(|inner| {
            let stamp = inner.mint.next(inner.folder.clock().now());
            inner.pen.write(&mut inner.buffer, inner.next_seq, stamp, begun, entry)?;
            inner.next_seq += 1;
            inner.ending.extend(begun);
            Ok(stamp.0)
        })
    }

    /// Appends that what an entry says begins, as far as it is known; on an actix worker's thread. If its
    /// record does not follow before the process ends, the next start makes one: see [`Begun`].
    pub fn begin(&self, entry: &AuditEntry<'_>) -> Append<Begun> {
        if self.inner.borrow().open.len() >= MOST_OPEN {
            return Append::refused(JournalError::Crowded);
        }
        self.put(|inner| {
            let (begun, start) = (Begun::generate(), inner.buffer.len());
            inner.pen.write_begin(&mut inner.buffer, begun, inner.folder.clock().now(), entry)?;
            inner.beginning.push((begun, start..inner.buffer.len()));
            Ok(begun)
        })
    }

    /// Puts something into the buffer that this turn will write.
    fn put<T>(&self, put: impl FnOnce(&mut Inner) -> Result<T, serde_json::Error>) -> Append<T> {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        if inner.folder.is_full() {
            return Append::refused(JournalError::Full);
        }
        let value = match put(inner) {
            Ok(value) => value,
            Err(error) => return Append::refused(JournalError::Write(error.to_string())),
        };
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
        Append(State::Waiting { turn, value })
    }

    #[cfg(test)]
    pub(super) fn close_segment(&self) {
        self.inner.borrow_mut().close();
    }

    /// Writes what was appended, and wakes those who wait for it.
    fn write(&self) {
        let mut guard = self.inner.borrow_mut();
        let Some(turn) = guard.turn.take() else { return };
        let done = guard.write();
        match &done {
            Ok(()) => guard.folder.note_success(),
            Err(error) => guard.folder.note_failure(error),
        }
        drop(guard);
        *turn.done.borrow_mut() = Some(done);
        for waker in turn.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }
}

impl Inner {
    fn write(&mut self) -> Result<(), JournalError> {
        let first_unwritten = self.progress.written() + 1;
        let written = self.write_buffer();
        if written.is_ok() {
            for (begun, line) in self.beginning.drain(..) {
                self.open.insert(begun, self.buffer[line].to_vec());
            }
            for begun in self.ending.drain(..) {
                self.open.remove(&begun);
            }
            self.progress.set_written(self.next_seq - 1);
        } else {
            // Their numbers are given again: what a torn write may have left of them is behind the beginning of
            // the next segment, and so out. What they were to end stays open: that it was done is known.
            self.next_seq = first_unwritten;
            self.beginning.clear();
            self.ending.clear();
            self.close();
        }
        self.buffer.clear();
        written
    }

    fn write_buffer(&mut self) -> Result<(), JournalError> {
        self.write_anew()?;
        if self.segment.as_ref().is_none_or(OpenSegment::is_full) {
            self.rotate()?;
        }
        let Some(segment) = &mut self.segment else { return Err(JournalError::Write("no segment".into())) };
        segment.append(&self.buffer)?;
        self.folder.note_bytes(self.buffer.len() as u64);
        if self.folder.settings().fsync == Fsync::Always
            && let Err(error) = segment.sync()
        {
            let written = self.write_anew_after(&error);
            if written.is_err()
                && let Some(segment) = &mut self.segment
            {
                // Nobody is told that they were written, so they should not be there.
                segment.take_back(self.buffer.len());
                self.folder.note_gone(self.buffer.len() as u64);
            }
            return written;
        }
        Ok(())
    }

    /// Begins a segment after the last number that is written.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let carried: Vec<u8> = self.open.values().flatten().copied().collect();
        let is_synced = self.folder.settings().fsync == Fsync::Always;
        let next = self.create(self.progress.written() + 1, &carried, is_synced)?;
        self.close();
        self.segment = Some(next);
        Ok(())
    }

    fn close(&mut self) {
        self.closed.extend(self.segment.take().filter(|segment| !segment.unsynced().is_empty()));
    }

    /// Writes to a new segment what a failed sync has left in doubt: once it has failed, a sync of the same file may
    /// succeed although the kernel has dropped what it could not write, so it is never asked again.
    fn write_anew(&mut self) -> Result<(), JournalError> {
        self.closed.iter_mut().for_each(OpenSegment::forget_synced);
        self.closed.retain(|segment| !segment.unsynced().is_empty());
        while let Some(at) = self.closed.iter().position(OpenSegment::has_failed) {
            let unsynced = self.closed[at].unsynced();
            // Beginnings without a record went along into the segment after it.
            if let Some(first) = first_number(unsynced) {
                self.create(first, unsynced, true)?;
            }
            self.closed.swap_remove(at);
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.forget_synced();
        let is_in_doubt = segment.has_failed() || (segment.has_too_much_unsynced() && segment.sync().is_err());
        if is_in_doubt { self.write_anew_after(&JournalError::Write("a sync has failed".into())) } else { Ok(()) }
    }

    /// The same for the present segment: the new one takes its place.
    fn write_anew_after(&mut self, error: &JournalError) -> Result<(), JournalError> {
        let Some(segment) = &self.segment else { return Ok(()) };
        log::error!("{error}: what may not be on the disk is written to a new segment");
        let first = first_number(segment.unsynced()).unwrap_or(self.progress.written() + 1);
        let text: Vec<u8> = self.open.values().flatten().chain(segment.unsynced()).copied().collect();
        self.segment = Some(self.create(first, &text, true)?);
        Ok(())
    }

    fn create(&self, first: u64, beginning: &[u8], is_synced: bool) -> Result<OpenSegment, JournalError> {
        let path = segment_path(&self.folder.settings().folder, self.progress.writer, first);
        OpenSegment::create(&self.folder, &path, beginning, is_synced, &self.wake)
    }
}

/// The number of the first record.
fn first_number(lines: &[u8]) -> Option<u64> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let digits = line.strip_prefix(b"{\"seq\":")?.split(|byte| !byte.is_ascii_digit()).next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

impl<T> Append<T> {
    fn refused(error: JournalError) -> Self {
        Self(State::Refused(Cell::new(Some(error))))
    }
}

impl<T: Copy + Unpin> Future for Append<T> {
    type Output = Result<T, JournalError>;

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(JournalError::Full))),
            State::Waiting { turn, value } => match &*turn.done.borrow() {
                Some(Ok(())) => Poll::Ready(Ok(*value)),
                Some(Err(error)) => Poll::Ready(Err(error.clone())),
                None => {
                    turn.waiting.borrow_mut().push(ctx.waker().clone());
                    Poll::Pending
                }
            },
        }
    }
}
