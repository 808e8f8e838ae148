//! One thread's journal: appends of one turn of its event loop are one `write(2)`.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::folder::{Folder, Progress, segment_path};
use super::line::write_line;
use super::mint::Mint;
use super::sync::Dirty;
use super::{Fsync, JournalError};
use crate::domain::RecordId;
use crate::domain::audit::AuditEntry;

/// A segment that has grown so large is followed by a new one.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The present thread's journal. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct WorkerJournal {
    folder: Folder,
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    progress: Arc<Progress>,
    mint: Mint,
    segment: Option<Segment>,
    next_seq: u64,
    buffer: Vec<u8>,
    turn: Option<Rc<Turn>>,
}

struct Segment {
    file: Arc<File>,
    dirty: Option<Arc<Dirty>>,
    length: u64,
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
            progress,
            mint: Mint::default(),
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
        if let Err(error) = write_line(&mut inner.buffer, inner.next_seq, stamp, entry) {
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

    /// Writes what was appended, and wakes those who wait for it.
    fn write(&self) {
        let mut guard = self.inner.borrow_mut();
        let Some(turn) = guard.turn.take() else { return };
        let done = guard.write(&self.folder);
        drop(guard);
        if let Err(error) = &done {
            self.folder.note_failure();
            log::error!("{error}");
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
        let is_full = self.segment.as_ref().is_some_and(|segment| segment.length >= SEGMENT_BYTES);
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
        let dirty = folder.syncer().map(|syncer| syncer.watch(Arc::clone(&file)));
        folder.note_segment();
        Ok(Segment { file, dirty, length: 0 })
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::path::Path;

    use super::*;
    use crate::clock::{MockClock, SharedClock};
    use crate::domain::{Timestamp, WriterId};
    use crate::journal::JournalSettings;
    use crate::journal::line::tests::entry;

    fn open(path: &Path, committed: &HashMap<WriterId, u64>, max_bytes: u64) -> Folder {
        let settings = JournalSettings { folder: path.to_owned(), fsync: Fsync::Always, max_bytes, keep_segments: 0 };
        let clock: SharedClock = Arc::new(MockClock::at(Timestamp::from_millis(1_700_000_000_000)));
        Folder::open(settings, clock, committed).unwrap()
    }

    /// All that is in the folder, as the audit writer reads it.
    fn read(folder: &Folder) -> Vec<(u64, String)> {
        let mut readers = BTreeMap::new();
        folder.look(&mut readers, |_| 0).unwrap();
        let mut found = Vec::new();
        for reader in readers.values_mut() {
            let written = folder.live().iter().find(|live| live.writer == reader.writer()).map(|live| live.written());
            let batch = reader.read(1000, written.unwrap_or(u64::MAX), written.is_some()).unwrap();
            found.extend(batch.lines.into_iter().map(|line| (line.seq, line.record.action.to_string())));
        }
        found
    }

    fn lines(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
        expected.iter().map(|(seq, action)| (*seq, (*action).to_owned())).collect()
    }

    #[actix::test]
    async fn appends_of_one_turn_are_one_write_and_in_order() {
        let home = tempfile::tempdir().unwrap();
        let folder = open(home.path(), &HashMap::new(), 0);
        let journal = folder.attach().unwrap();
        let appends: Vec<_> = ["A", "B", "C"].iter().map(|action| journal.append(&entry(action))).collect();
        assert_eq!((folder.bytes(), folder.live()[0].written()), (0, 0));
        let mut ids = Vec::new();
        for append in appends {
            ids.push(append.await.unwrap());
        }
        assert!(ids.is_sorted());
        assert_eq!(folder.live()[0].written(), 3);
        assert_eq!(read(&folder), lines(&[(1, "A"), (2, "B"), (3, "C")]));
    }

    #[actix::test]
    async fn a_restart_goes_on_with_the_numbers_and_a_torn_line_is_no_record() {
        let home = tempfile::tempdir().unwrap();
        {
            let folder = open(home.path(), &HashMap::new(), 0);
            let journal = folder.attach().unwrap();
            journal.append(&entry("A")).await.unwrap();
            let path = folder.segments().unwrap().values().next().unwrap().values().next().unwrap().clone();
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(b"{\"seq\":2,\"id\":\"to").unwrap();
        }
        let folder = open(home.path(), &HashMap::new(), 0);
        let journal = folder.attach().unwrap();
        journal.append(&entry("B")).await.unwrap();
        assert_eq!(read(&folder), lines(&[(1, "A"), (2, "B")]));
        // The database may know more than the files do, where they were lost.
        let writer = folder.live()[0].writer;
        drop((journal, folder));
        let folder = open(home.path(), &HashMap::from([(writer, 41)]), 0);
        folder.attach().unwrap().append(&entry("C")).await.unwrap();
        assert!(read(&folder).contains(&(42, "C".to_owned())));
    }

    #[actix::test]
    async fn a_failed_write_is_told_and_leaves_no_gap() {
        let home = tempfile::tempdir().unwrap();
        let folder = open(home.path(), &HashMap::new(), 0);
        let journal = folder.attach().unwrap();
        journal.append(&entry("A")).await.unwrap();
        // The next segment is on a device that is always full.
        let writer = folder.live()[0].writer;
        let next = segment_path(home.path(), writer, 2);
        std::os::unix::fs::symlink("/dev/full", &next).unwrap();
        journal.inner.borrow_mut().segment = None;
        let failed = (journal.append(&entry("LOST")), journal.append(&entry("LOST")));
        assert!(matches!(failed.0.await, Err(JournalError::Write(_))));
        assert!(failed.1.await.is_err());
        assert!(!journal.is_writable());
        std::fs::remove_file(&next).unwrap();
        journal.append(&entry("B")).await.unwrap();
        assert!(journal.is_writable());
        assert_eq!(read(&folder), lines(&[(1, "A"), (2, "B")]));
    }

    #[actix::test]
    async fn a_journal_at_its_limit_takes_no_more() {
        let home = tempfile::tempdir().unwrap();
        let folder = open(home.path(), &HashMap::new(), 100);
        let journal = folder.attach().unwrap();
        journal.append(&entry("A")).await.unwrap();
        assert!(!journal.is_writable());
        assert!(matches!(journal.append(&entry("B")).await, Err(JournalError::Full)));
    }

    #[actix::test]
    async fn what_another_process_leaves_is_read_to_its_end_and_may_go() {
        let home = tempfile::tempdir().unwrap();
        let folder = open(home.path(), &HashMap::new(), 0);
        let left = crate::journal::leave(home.path(), folder.clock(), &entry("CREATE_USER")).unwrap();
        let mut readers = BTreeMap::new();
        folder.look(&mut readers, |_| 0).unwrap();
        let reader = readers.get_mut(&left.writer).unwrap();
        let batch = reader.read(10, u64::MAX, false).unwrap();
        assert_eq!((batch.lines.len(), batch.finished), (1, vec![left.path]));
        assert!(reader.is_exhausted());
    }

    #[actix::test]
    async fn a_line_that_is_no_record_is_kept_apart_and_the_rest_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let folder = open(home.path(), &HashMap::new(), 0);
        let left = crate::journal::leave(home.path(), folder.clock(), &entry("A")).unwrap();
        let good = std::fs::read(&left.path).unwrap();
        let second = String::from_utf8(good.clone()).unwrap().replace("\"seq\":1", "\"seq\":2");
        std::fs::write(&left.path, [good.as_slice(), b"{broken}\n", second.as_bytes()].concat()).unwrap();
        let mut readers = BTreeMap::new();
        folder.look(&mut readers, |_| 0).unwrap();
        let batch = readers.get_mut(&left.writer).unwrap().read(10, u64::MAX, false).unwrap();
        assert_eq!((batch.lines.len(), batch.unreadable), (2, vec![b"{broken}".to_vec()]));
    }
}
