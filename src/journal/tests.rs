//! The journal as its users see it: what is appended is read once, in order, whatever happens in between.

mod interrupted;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::files::segment_path;
use super::line::tests::{entry, sealer};
use super::pen::Pen;
use super::*;
use crate::clock::{MockClock, SharedClock};
use crate::domain::audit::AuditEntry;
use crate::domain::{RecordId, Timestamp, WriterId};
use crate::proof::Sealed;

fn open(path: &Path, committed: &HashMap<WriterId, u64>, max_bytes: u64) -> Folder {
    let settings = JournalSettings { folder: path.to_owned(), fsync: Fsync::Always, max_bytes, keep_segments: 0 };
    Folder::open(settings, clock_at(1_700_000_000_000), sealer(), committed).unwrap()
}

fn clock_at(millis: i64) -> SharedClock {
    Arc::new(MockClock::at(Timestamp::from_millis(millis)))
}

fn open_at(path: &Path, millis: i64) -> Folder {
    let settings = JournalSettings { folder: path.to_owned(), fsync: Fsync::No, max_bytes: 0, keep_segments: 0 };
    Folder::open(settings, clock_at(millis), sealer(), &HashMap::new()).unwrap()
}

/// What another process leaves that ends well.
fn leave(home: &Path, folder: &Folder, entries: &[AuditEntry<'_>]) -> Left {
    let leaving = Leaving::begin(home, folder.clock().clone(), folder.sealer().clone(), entries).unwrap();
    leaving.finish(entries).unwrap()
}

/// All that is in the folder, as the audit writer reads it.
fn read_all(folder: &Folder) -> Vec<Sealed> {
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let live = folder.live();
    let mut found = Vec::new();
    for reader in readers.values_mut() {
        let progress = live.iter().find(|live| live.writer == reader.writer());
        let limit = progress.map_or(u64::MAX, |live| live.written());
        let is_live = progress.is_some_and(|live| live.is_attached());
        found.extend(reader.read(1000, limit, is_live).unwrap().lines);
    }
    found
}

fn read(folder: &Folder) -> Vec<(u64, String)> {
    read_all(folder).into_iter().map(|line| (line.seq, line.record.action.to_string())).collect()
}

fn lines(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(seq, action)| (*seq, (*action).to_owned())).collect()
}

#[actix::test]
async fn appends_of_one_turn_are_one_write_and_in_order() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    let appends: Vec<_> = ["A", "B", "C"].iter().map(|action| journal.append(&entry(action), None)).collect();
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
        journal.append(&entry("A"), None).await.unwrap();
        let path = folder.segments().unwrap().values().next().unwrap().values().next().unwrap().clone();
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"seq\":2,\"id\":\"to").unwrap();
    }
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    journal.append(&entry("B"), None).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A"), (2, "B")]));
    // The database may know more than the files do, where they were lost.
    let writer = folder.live()[0].writer;
    drop((journal, folder));
    let folder = open(home.path(), &HashMap::from([(writer, 41)]), 0);
    folder.attach().unwrap().append(&entry("C"), None).await.unwrap();
    assert!(read(&folder).contains(&(42, "C".to_owned())));
}

#[actix::test]
async fn a_failed_write_is_told_and_leaves_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    // The next segment is on a device that is always full.
    let writer = folder.live()[0].writer;
    let next = segment_path(home.path(), writer, 2);
    std::os::unix::fs::symlink("/dev/full", next.with_extension("part")).unwrap();
    journal.close_segment();
    let failed = (journal.append(&entry("LOST"), None), journal.append(&entry("LOST"), None));
    assert!(matches!(failed.0.await, Err(JournalError::Write(_))));
    assert!(failed.1.await.is_err());
    assert!(!journal.is_writable());
    std::fs::remove_file(&next).unwrap();
    journal.append(&entry("B"), None).await.unwrap();
    assert!(journal.is_writable());
    assert_eq!(read(&folder), lines(&[(1, "A"), (2, "B")]));
}

#[actix::test]
async fn a_journal_at_its_limit_takes_no_more() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 100);
    let journal = folder.attach().unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    assert!(!journal.is_writable());
    assert!(matches!(journal.append(&entry("B"), None).await, Err(JournalError::Full)));
}

#[actix::test]
async fn what_another_process_leaves_is_read_to_its_end_and_may_go() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let left = leave(home.path(), &folder, &[entry("CREATE_USER")]);
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let reader = readers.get_mut(&left.writer).unwrap();
    let batch = reader.read(10, u64::MAX, false).unwrap();
    assert_eq!((batch.lines.len(), batch.finished), (1, vec![left.path]));
    assert!(reader.is_exhausted());
}

#[actix::test]
async fn ids_rise_over_a_restart_with_a_clock_that_stepped_back() {
    let home = tempfile::tempdir().unwrap();
    let mut ids: Vec<RecordId> = Vec::new();
    for now in [1_700_000_000_000, 1_600_000_000_000, 1_500_000_000_000] {
        let folder = open_at(home.path(), now);
        let journal = folder.attach().unwrap();
        ids.push(journal.append(&entry("A"), None).await.unwrap());
        ids.push(journal.append(&entry("A"), None).await.unwrap());
        // A run without a record, and so an empty segment, must not make it forget.
        drop((journal, folder));
        drop(open_at(home.path(), now).attach().unwrap());
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(ids[5].time().as_millis(), 1_700_000_000_000);
    let seqs: Vec<u64> = read_all(&open_at(home.path(), 0)).iter().map(|line| line.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[actix::test]
async fn a_torn_first_line_leaves_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let writer = {
        let folder = open(home.path(), &HashMap::new(), 0);
        drop(folder.attach().unwrap());
        folder.live()[0].writer
    };
    std::fs::write(segment_path(home.path(), writer, 1), "{\"seq\":1,\"id\":\"to").unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    folder.attach().unwrap().append(&entry("A"), None).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A")]));
}

#[actix::test]
async fn a_full_journal_takes_more_once_its_closed_segments_are_in_the_database() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 4000);
    let journal = folder.attach().unwrap();
    while journal.append(&entry("A"), None).await.is_ok() {}
    assert!(!journal.is_writable());
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let reader = readers.values_mut().next().unwrap();
    let batch = reader.read(1000, folder.live()[0].written(), true).unwrap();
    reader.commit(batch.lines.last().unwrap().seq);
    batch.finished.into_iter().for_each(|segment| folder.retire(segment));
    assert!(journal.is_writable(), "{} bytes stay", folder.bytes());
    journal.append(&entry("B"), None).await.unwrap();
}

#[actix::test]
async fn closed_segments_stay_for_shippers_and_are_not_read_again() {
    let home = tempfile::tempdir().unwrap();
    let settings = JournalSettings { folder: home.path().to_owned(), fsync: Fsync::No, max_bytes: 0, keep_segments: 2 };
    let folder = Folder::open(settings, clock_at(1_700_000_000_000), sealer(), &HashMap::new()).unwrap();
    let left: Vec<_> = (0..3).map(|_| leave(home.path(), &folder, &[entry("A")])).collect();
    let mut readers = BTreeMap::new();
    for _ in 0..5 {
        folder.look(&mut readers, |_| 0).unwrap();
        for reader in readers.values_mut() {
            let batch = reader.read(10, u64::MAX, false).unwrap();
            batch.finished.into_iter().for_each(|segment| folder.retire(segment));
        }
        readers.retain(|_, reader| !reader.is_exhausted());
    }
    assert_eq!(left.iter().filter(|left| left.path.exists()).count(), 2);
    assert!(readers.is_empty());
}

/// One segment with these lines in a folder, as another process left it; what is read of it.
fn read_left(lines: &[&str]) -> (Vec<(u64, String)>, Vec<Vec<u8>>) {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let left = leave(home.path(), &folder, &[entry("A")]);
    let good = std::fs::read_to_string(&left.path).unwrap();
    // Behind the one that says that it begins.
    let good = format!("{}\n", good.lines().last().unwrap());
    let mut pen = Pen::new(sealer(), left.writer);
    let mut text = Vec::new();
    for line in lines {
        match (line.parse::<u64>(), line.strip_prefix("changed to ")) {
            (Ok(seq), _) => {
                let id = RecordId::generate();
                pen.write(&mut text, seq, (id, id.time()), None, &entry("A")).unwrap();
            }
            (_, Some(seq)) => text.extend(good.replace("\"seq\":1", &format!("\"seq\":{seq}")).bytes()),
            _ => text.extend(format!("{line}\n").bytes()),
        }
    }
    std::fs::write(&left.path, text).unwrap();
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let batch = readers.get_mut(&left.writer).unwrap().read(100, u64::MAX, false).unwrap();
    assert_eq!(batch.finished, [left.path]);
    (batch.lines.into_iter().map(|line| (line.seq, line.record.action.to_string())).collect(), batch.unreadable)
}

#[test]
fn a_line_that_is_no_record_is_kept_apart_and_one_that_says_so_stands_in_for_it() {
    let (found, unreadable) = read_left(&["1", "{broken}", "3"]);
    assert_eq!(found, lines(&[(1, "A"), (2, "SET_ASIDE"), (3, "A")]));
    assert_eq!(unreadable, [b"{broken}"]);
    let (found, unreadable) = read_left(&["{broken}", "2", "{broken}"]);
    assert_eq!(found, lines(&[(1, "SET_ASIDE"), (2, "A"), (3, "SET_ASIDE")]));
    assert_eq!(unreadable.len(), 2);
}

#[test]
fn a_number_that_was_changed_hides_no_other_record() {
    let (found, unreadable) = read_left(&["1", "changed to 92", "3", "4"]);
    assert_eq!(found, lines(&[(1, "A"), (2, "SET_ASIDE"), (3, "A"), (4, "A")]));
    assert_eq!(unreadable.len(), 1);
}

#[test]
fn what_was_put_in_or_moved_is_kept_apart() {
    let (found, unreadable) = read_left(&["1", "changed to 2", "2", "1", "3"]);
    assert_eq!(found, lines(&[(1, "A"), (2, "A"), (3, "A")]));
    assert_eq!(unreadable.len(), 2);
    let (found, unreadable) = read_left(&["1", "3", "2", "4"]);
    assert_eq!(found, lines(&[(1, "A"), (2, "SET_ASIDE"), (3, "A"), (4, "A")]));
    assert_eq!(unreadable.len(), 1);
}

#[test]
fn a_line_that_a_damaged_byte_made_two_is_one_number() {
    let (found, unreadable) = read_left(&["1", "{bro", "ken}", "3"]);
    assert_eq!(found, lines(&[(1, "A"), (2, "SET_ASIDE"), (3, "A")]));
    assert_eq!(unreadable.len(), 2);
}

#[test]
fn what_was_cut_out_is_said_and_the_rest_goes_on() {
    let (found, unreadable) = read_left(&["1", "40", "41", "42"]);
    assert_eq!(found, lines(&[(1, "A"), (39, "SET_ASIDE"), (40, "A"), (41, "A"), (42, "A")]));
    assert!(unreadable.is_empty());
}
