//! From the journal to the table: the service's copy against the least that a database could be asked for.
//!
//! The journal is written by the service's own code and copied by the running service: read, its seals
//! checked, linked, inserted. The bare way has the same rows in memory and does nothing but insert them, in
//! transactions of as many: by a COPY on PostgreSQL, by one prepared statement on SQLite. Both write to the
//! same table with the same indexes, in turn.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::clock::SystemClock;
use portcullis::domain::audit::AuditRecord;
use portcullis::journal::{Folder, Fsync, JournalSettings};

use crate::bare::Bare;
use crate::log::{Log, Place};
use crate::report::{Report, median, whole};
use crate::{Failure, progress};

/// Of each side in a round, at most.
const RECORDS: u64 = 50_000;
const ROUNDS: u64 = 3;

/// Against the bare way.
const LEAST: f64 = 0.8;

/// Copies and inserts in turn, and reports it.
///
/// # Errors
/// The log can't be filled, or the service does not copy.
pub(crate) fn measure(place: &Place<'_>, report: &mut Report) -> Result<(), Failure> {
    let log = place.log(place.options.records)?;
    let count = RECORDS.min(log.records.count);
    let mut bare = Bare::open(&log.database)?;
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        progress(&format!("the copy, round {} of {ROUNDS}", round + 1));
        let first = log.records.count + round * count;
        let records: Vec<AuditRecord> = (first..first + count).map(|index| log.records.record(index)).collect();
        // Records in a transaction of the service's copy.
        let most = runtime()?.block_on(journal(&log, &records))?;
        ours.push(copied(&log, count)?);
        let begun = Instant::now();
        for batch in records.chunks(most) {
            bare.insert(batch)?;
        }
        bares.push(count as f64 / begun.elapsed().as_secs_f64());
    }
    let (name, way) = (place.backend.name(), bare.name());
    bare.remove()?;
    let ratio = median(ours.iter().zip(&bares).map(|(ours, bare)| ours / bare));
    report.heading(format!("Copy to {name}: {ROUNDS} rounds of {} records each way", whole(count as f64)));
    report.figure("records/s, journal to table", whole(median(ours)));
    report.figure(format!("records/s, {way}"), whole(median(bares)));
    report.judged(format!("copy/{way}"), format!("{ratio:.2}"), format!(">= {LEAST}"), ratio >= LEAST);
    Ok(())
}

/// Writes the records to the journal of a service that does not run; gives how many it will copy at once.
async fn journal(log: &Log, records: &[AuditRecord]) -> Result<usize, Failure> {
    let (store, sealer) = log.open().await?;
    let mut sink = store.audit_sink(sealer.clone());
    let (committed, most) = (sink.committed().await?, sink.batch());
    let folder = log.home.join("data/audit");
    let settings = JournalSettings { folder, fsync: Fsync::No, max_bytes: 0, keep_segments: 0 };
    let journal = Folder::open(settings, Arc::new(SystemClock), sealer, &committed)?.attach()?;
    tokio::task::LocalSet::new()
        .run_until(async {
            for batch in records.chunks(most) {
                let mut last = None;
                for record in batch {
                    last = Some(journal.append(&record.into(), None));
                }
                if let Some(last) = last {
                    pin!(last).await?;
                }
            }
            Ok(most)
        })
        .await
}

/// Records a second of the service that finds so many in its journal, from the first batch to the last.
fn copied(log: &Log, count: u64) -> Result<f64, Failure> {
    let server = log.serve()?;
    let (mut first, begun) = (None, Instant::now());
    loop {
        let (now, written) = (Instant::now(), server.audit_count()?.written);
        let (from, before) = *first.get_or_insert((now, written));
        if written >= count {
            return Ok((written - before) as f64 / now.duration_since(from).as_secs_f64());
        }
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("the service copied {written} of {count} records").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
