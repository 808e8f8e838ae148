//! Processes that end in the middle, and disks that refuse: what was said to begin is recorded once.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::domain::audit::Outcome;
use crate::journal::line::tests::beginning;

/// The files of all segments, in the order of their numbers.
fn files(folder: &Folder) -> Vec<PathBuf> {
    folder.segments().unwrap().into_values().flat_map(BTreeMap::into_values).collect()
}

/// What there is to read once all processes have ended, and another has looked after them.
fn after_the_end(home: &Path) -> Vec<Sealed> {
    read_all(&open(home, &HashMap::new(), 0))
}

#[actix::test]
async fn what_began_and_did_not_end_is_one_record_at_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    {
        let folder = open(home.path(), &HashMap::new(), 0);
        let journal = folder.attach().unwrap();
        journal.append(&entry("A"), None).await.unwrap();
        let done = journal.begin(&beginning("DONE")).await.unwrap();
        journal.begin(&beginning("KILLED")).await.unwrap();
        assert_eq!(read(&folder), lines(&[(1, "A")]));
        journal.append(&entry("DONE"), Some(done)).await.unwrap();
        assert_eq!(read(&folder), lines(&[(1, "A"), (2, "DONE")]));
    }
    for _ in 0..3 {
        let found = after_the_end(home.path());
        assert_eq!(found.len(), 3, "{found:?}");
        let record = &found[2].record;
        assert_eq!((found[2].seq, &*record.action, record.outcome), (3, "KILLED", Outcome::Error));
        assert_eq!((record.response_status, record.request_id.as_deref()), (None, Some("r-1")));
        assert_eq!(record.metadata.as_str(), "{\"unfinished\":true,\"began\":\"2023-11-14T22:13:20.000Z\"}");
    }
    // A worker goes on after it.
    let folder = open(home.path(), &HashMap::new(), 0);
    folder.attach().unwrap().append(&entry("B"), None).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A"), (2, "DONE"), (3, "KILLED"), (4, "B")]));
}

#[actix::test]
async fn what_has_begun_goes_along_into_the_next_segment() {
    let home = tempfile::tempdir().unwrap();
    {
        let folder = open(home.path(), &HashMap::new(), 0);
        let journal = folder.attach().unwrap();
        let done = journal.begin(&beginning("DONE")).await.unwrap();
        journal.begin(&beginning("KILLED")).await.unwrap();
        for action in ["A", "B"] {
            journal.append(&entry(action), None).await.unwrap();
            journal.close_segment();
        }
        journal.append(&entry("DONE"), Some(done)).await.unwrap();
        // In the database, and so gone.
        let mut files = files(&folder);
        files.pop();
        assert!(!files.is_empty());
        files.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
    let found: Vec<_> = after_the_end(home.path()).into_iter().map(|line| (line.seq, line.record.action)).collect();
    assert_eq!(found, [(3, "DONE".into()), (4, "KILLED".into())]);
}

#[actix::test]
async fn a_segment_of_beginnings_alone_is_replaced_and_loses_none() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    let begun = journal.begin(&beginning("DONE")).await.unwrap();
    // Another of the same name, for no number has been given.
    journal.close_segment();
    journal.begin(&beginning("KILLED")).await.unwrap();
    assert_eq!(files(&folder).len(), 1);
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let reader = readers.values_mut().next().unwrap();
    assert!(reader.read(10, 0, true).unwrap().is_empty());
    journal.append(&entry("DONE"), Some(begun)).await.unwrap();
    assert_eq!(reader.read(10, 1, true).unwrap().lines.len(), 1);
    drop((journal, folder));
    let actions: Vec<_> = after_the_end(home.path()).into_iter().map(|line| line.record.action).collect();
    assert_eq!(actions, ["DONE".into(), "KILLED".into()]);
}

#[actix::test]
async fn what_began_is_refused_where_it_can_not_be_said_and_takes_no_number() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    let kept = journal.begin(&beginning("KEPT")).await.unwrap();
    // A full disk, found when the next segment begins.
    let part = segment_path(home.path(), folder.live()[0].writer, 2).with_extension("part");
    symlink("/dev/full", &part).unwrap();
    journal.close_segment();
    let (refused, lost) = (journal.begin(&beginning("REFUSED")), journal.append(&entry("KEPT"), Some(kept)));
    assert!(matches!(refused.await, Err(JournalError::Write(_))));
    assert!(lost.await.is_err());
    // The failed attempt has left nothing in the way: there is room again.
    assert!(!part.exists() && !journal.is_writable());
    journal.append(&entry("B"), None).await.unwrap();
    assert!(journal.is_writable());
    drop((journal, folder));
    // That it was done could not be written, but that it began stands.
    let found: Vec<_> = after_the_end(home.path()).into_iter().map(|line| (line.seq, line.record.action)).collect();
    assert_eq!(found, [(1, "A".into()), (2, "B".into()), (3, "KEPT".into())]);
}

#[actix::test]
async fn a_folder_that_takes_no_file_refuses_until_it_does() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    let part = segment_path(home.path(), folder.live()[0].writer, 1).with_extension("part");
    std::fs::create_dir(&part).unwrap();
    journal.close_segment();
    assert!(journal.append(&entry("LOST"), None).await.is_err());
    assert!(journal.begin(&beginning("LOST")).await.is_err());
    std::fs::remove_dir(&part).unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A")]));
}

#[actix::test]
async fn a_torn_last_line_is_kept_apart_once() {
    let home = tempfile::tempdir().unwrap();
    let torn = format!("{{\"seq\":2,\"id\":\"{}", "x".repeat(100_000));
    {
        let folder = open(home.path(), &HashMap::new(), 0);
        folder.attach().unwrap().append(&entry("A"), None).await.unwrap();
        let path = files(&folder).pop().unwrap();
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(torn.as_bytes()).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(after_the_end(home.path()).len(), 1);
        assert_eq!(std::fs::read_to_string(home.path().join("set-aside.ndjson")).unwrap(), format!("{torn}\n"));
    }
}

#[actix::test]
async fn a_cut_segment_is_said_and_its_piece_is_kept_apart() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    for action in ["A", "B"] {
        journal.append(&entry(action), None).await.unwrap();
    }
    journal.close_segment();
    journal.append(&entry("C"), None).await.unwrap();
    let cut = &files(&folder)[0];
    let text = std::fs::read_to_string(cut).unwrap();
    std::fs::write(cut, &text[..text.len() - 20]).unwrap();
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let batch = readers.values_mut().next().unwrap().read(10, 3, true).unwrap();
    let found: Vec<_> = batch.lines.iter().map(|line| (line.seq, &*line.record.action)).collect();
    assert_eq!(found, [(1, "A"), (2, "SET_ASIDE"), (3, "C")]);
    let piece = text.lines().nth(1).unwrap();
    assert_eq!(batch.unreadable, [&piece.as_bytes()[..piece.len() - 19]]);
    // Found again by a process that starts before all of it was noted.
    assert_eq!(folder.set_aside(&batch.unreadable).unwrap(), 1);
    assert_eq!(folder.set_aside(&batch.unreadable).unwrap(), 0);
}

#[actix::test]
async fn a_damaged_beginning_takes_no_number_where_the_next_record_shows_it() {
    let home = tempfile::tempdir().unwrap();
    {
        let folder = open(home.path(), &HashMap::new(), 0);
        let journal = folder.attach().unwrap();
        journal.append(&entry("A"), None).await.unwrap();
        let begun = journal.begin(&beginning("DONE")).await.unwrap();
        journal.append(&entry("DONE"), Some(begun)).await.unwrap();
        let path = files(&folder).pop().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replacen("\"action\":\"DONE\"", "\"action\":\"GONE\"", 1)).unwrap();
    }
    let folder = open(home.path(), &HashMap::new(), 0);
    assert_eq!(read(&folder), lines(&[(1, "A"), (2, "DONE")]));
}

#[actix::test]
async fn what_another_process_began_is_recorded_once_it_has_ended() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let entries = [beginning("CREATE_ROLE"), beginning("DELETE_ROLE")];
    let begin = || Leaving::begin(home.path(), folder.clock().clone(), folder.sealer().clone(), &entries).unwrap();
    let (ends_well, dies) = (begin(), begin());
    assert_eq!(read(&folder), lines(&[]));
    let records = [entry("CREATE_ROLE"), entry("DELETE_ROLE")];
    assert_eq!(ends_well.finish(&records).unwrap().lines.len(), 2);
    assert_eq!(read(&folder), lines(&[(1, "CREATE_ROLE"), (2, "DELETE_ROLE")]));
    // Still running, for it has the lock. Then it dies in the middle of its first record.
    let begun = std::fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().path());
    let begun = begun.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "begun")).unwrap();
    std::fs::OpenOptions::new().append(true).open(&begun).unwrap().write_all(b"{\"seq\":1,\"be").unwrap();
    assert_eq!(read(&folder).len(), 2);
    drop(dies);
    for _ in 0..2 {
        let found = read_all(&folder);
        let unfinished: Vec<_> = found.iter().filter(|line| line.record.outcome == Outcome::Error).collect();
        let actions: Vec<_> = unfinished.iter().map(|line| (line.seq, &*line.record.action)).collect();
        assert_eq!((found.len(), actions), (4, vec![(1, "CREATE_ROLE"), (2, "DELETE_ROLE")]));
        assert!(unfinished[0].record.metadata.as_str().contains("\"unfinished\":true"));
    }
    assert!(!begun.exists());
    assert_eq!(std::fs::read_to_string(home.path().join("set-aside.ndjson")).unwrap(), "{\"seq\":1,\"be\n");
}

/// A segment that takes every write, keeps none, and can't be synced: what its writer has to write anew
/// is in no file. `/dev/null` is one.
fn make_unsyncable(home: &Path, folder: &Folder, next: u64) {
    let part = segment_path(home, folder.live()[0].writer, next).with_extension("part");
    symlink("/dev/null", part).unwrap();
}

#[actix::test]
async fn a_failed_sync_before_the_answer_is_made_up_for_in_a_new_segment() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path(), &HashMap::new(), 0);
    let journal = folder.attach().unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    make_unsyncable(home.path(), &folder, 2);
    journal.close_segment();
    let appends = (journal.append(&entry("B"), None), journal.begin(&beginning("KILLED")));
    appends.0.await.unwrap();
    appends.1.await.unwrap();
    journal.append(&entry("C"), None).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A"), (2, "B"), (3, "C")]));
    drop((journal, folder));
    let found: Vec<_> = after_the_end(home.path()).into_iter().map(|line| (line.seq, line.record.action)).collect();
    assert_eq!(found, [(1, "A".into()), (2, "B".into()), (3, "C".into()), (4, "KILLED".into())]);
}

#[actix::test]
async fn an_answer_that_waits_for_the_disk_fails_where_neither_sync_succeeds() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path(), &HashMap::new(), 0).attach().unwrap());
    let folder = open(home.path(), &HashMap::new(), 0);
    make_unsyncable(home.path(), &folder, 1);
    let journal = folder.attach().unwrap();
    let part = segment_path(home.path(), folder.live()[0].writer, 1).with_extension("part");
    std::fs::create_dir(&part).unwrap();
    let (record, begun) = (journal.append(&entry("LOST"), None), journal.begin(&beginning("LOST")));
    assert!(matches!(record.await, Err(JournalError::Write(_))));
    assert!(begun.await.is_err());
    assert!(!journal.is_writable());
    std::fs::remove_dir(&part).unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A")]));
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not so");
}

#[actix::test]
async fn a_failed_sync_once_a_second_is_made_up_for_from_memory() {
    let home = tempfile::tempdir().unwrap();
    let settings =
        JournalSettings { folder: home.path().to_owned(), fsync: Fsync::EverySecond, max_bytes: 0, keep_segments: 0 };
    let folder = Folder::open(settings, clock_at(1_700_000_000_000), sealer(), &HashMap::new()).unwrap();
    let journal = folder.attach().unwrap();
    journal.append(&entry("A"), None).await.unwrap();
    make_unsyncable(home.path(), &folder, 2);
    journal.close_segment();
    journal.append(&entry("B"), None).await.unwrap();
    journal.begin(&beginning("KILLED")).await.unwrap();
    assert_eq!(read(&folder), lines(&[(1, "A")]));
    // No append has to come for it.
    eventually("it is written anew", || read(&folder) == lines(&[(1, "A"), (2, "B")])).await;

    // The same of a segment that is closed by then.
    make_unsyncable(home.path(), &folder, 3);
    journal.close_segment();
    journal.append(&entry("C"), None).await.unwrap();
    journal.close_segment();
    journal.append(&entry("D"), None).await.unwrap();
    let all = lines(&[(1, "A"), (2, "B"), (3, "C"), (4, "D")]);
    eventually("it is written anew", || read(&folder) == all).await;
    journal.append(&entry("E"), None).await.unwrap();
    drop((journal, folder));
    let actions: Vec<_> = after_the_end(home.path()).into_iter().map(|line| line.record.action).collect();
    assert_eq!(actions.join(" "), "A B C D E KILLED");
}

#[actix::test]
async fn what_was_read_before_it_was_written_anew_is_not_taken_twice() {
    let home = tempfile::tempdir().unwrap();
    let folder = open_at(home.path(), 1_700_000_000_000);
    let journal = folder.attach().unwrap();
    for action in ["A", "B", "C"] {
        journal.append(&entry(action), None).await.unwrap();
    }
    let mut readers = BTreeMap::new();
    folder.look(&mut readers, |_| 0).unwrap();
    let reader = readers.values_mut().next().unwrap();
    let batch = reader.read(10, 3, true).unwrap();
    reader.commit(batch.lines.last().unwrap().seq);
    // From the second record on.
    let (writer, path) = (folder.live()[0].writer, files(&folder).pop().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let anew: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(segment_path(home.path(), writer, 2), anew).unwrap();
    folder.look(&mut readers, |_| 0).unwrap();
    let batch = readers.values_mut().next().unwrap().read(10, 3, true).unwrap();
    assert_eq!((batch.lines.len(), batch.finished), (0, vec![path]));
}
