//! What each index takes of the copy: batches of the service's own with all indexes, and with one less.

use std::time::{Duration, Instant};

use portcullis::domain::WriterId;
use portcullis::proof::Sealed;
use tokio::runtime::Builder;

use crate::log::{Database, Index, Log, Place, query_postgres, sqlite_bytes};
use crate::processor::{Spent, spent_with_children};
use crate::report::{Report, median, whole};
use crate::{Failure, progress};

/// Records in the log, at most: each index is dropped and made again in each round.
const RECORDS: u64 = 300_000;
/// Of a measurement, at most.
const INSERTED: u64 = 40_000;
const ROUNDS: usize = 3;

/// Inserts with and without each index in turn, and reports it.
///
/// # Errors
/// The log can't be filled.
pub(crate) fn measure(place: &Place<'_>, report: &mut Report) -> Result<(), Failure> {
    let log = place.log(RECORDS.min(place.options.records))?;
    let mut inserter = Inserter { next: log.records.count, log: &log, postmaster: postmaster(&log.database)? };
    let indexes = log.database.indexes()?;
    // Processor time without one of them against that with all of them, just before.
    let mut saved = vec![Vec::new(); indexes.len()];
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (place, index) in indexes.iter().enumerate() {
            progress(&format!("round {} of {ROUNDS}, without {}", round + 1, index.name));
            let (rate, all) = inserter.insert()?;
            log.database.execute(&format!("DROP INDEX {}", index.name))?;
            let without = inserter.insert();
            log.database.execute(&index.sql)?;
            saved[place].push(all - without?.1);
            rates.push(rate);
            costs.push(all);
        }
    }
    report.heading(format!(
        "Indexes on {}: the service's batches into a log of {} records",
        place.backend.name(),
        whole(log.records.count as f64)
    ));
    report.figure("records/s with all of them", whole(median(rates)));
    report.figure("processor time a record with all of them", format!("{:.1} us", median(costs)));
    for (index, saved) in indexes.iter().zip(saved) {
        let megabytes = bytes(&log.database, index)? / 1e6;
        let name = format!("less without {}, {megabytes:.0} MB", index.name);
        report.figure(name, format!("{:.1} us", median(saved)));
    }
    Ok(())
}

struct Inserter<'a> {
    log: &'a Log,
    /// Of the next record.
    next: u64,
    /// Where the database is a process of its own.
    postmaster: Option<u32>,
}

impl Inserter<'_> {
    /// Records a second, and the processor time of each in microseconds.
    fn insert(&mut self) -> Result<(f64, f64), Failure> {
        let count = INSERTED.min(self.log.records.count);
        let numbers = self.next..self.next + count;
        self.next += count;
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let (store, sealer) = self.log.open().await?;
            let (mut sink, writer) = (store.audit_sink(sealer.clone()), WriterId::generate());
            let records = numbers.map(|index| self.log.records.record(index));
            let sealed: Vec<Sealed> =
                records.zip(1..).map(|(record, seq)| sealer.sealed(writer, seq, record)).collect();
            let (begun, before) = (Instant::now(), self.spent()?);
            for batch in sealed.chunks(sink.batch()) {
                sink.insert(writer, batch).await?;
            }
            let (elapsed, spent) = (begun.elapsed(), self.spent()?.saturating_sub(before));
            Ok((count as f64 / elapsed.as_secs_f64(), spent.as_secs_f64() * 1e6 / count as f64))
        })
    }

    /// Processor time of the database and of ourselves.
    fn spent(&self) -> Result<Duration, Failure> {
        let database = self.postmaster.map(spent_with_children).transpose()?.unwrap_or_default();
        Ok(database + Spent::of_this_process()?.all)
    }
}

/// The process whose children are the server's others, on this machine.
fn postmaster(database: &Database) -> Result<Option<u32>, Failure> {
    let Database::Postgres(url) = database else { return Ok(None) };
    let rows = query_postgres(url, "SHOW data_directory")?;
    let folder = rows.first().and_then(|row| row.first()).ok_or("no data directory")?;
    let text = std::fs::read_to_string(format!("{folder}/postmaster.pid"))?;
    Ok(Some(text.lines().next().unwrap_or_default().trim().parse()?))
}

/// What an index takes of the disk.
fn bytes(database: &Database, index: &Index) -> Result<f64, Failure> {
    match database {
        Database::Sqlite(path) => sqlite_bytes(path, &index.name),
        Database::Postgres(url) => {
            let query = format!("SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('{}')", index.name);
            let rows = query_postgres(url, &query)?;
            Ok(rows.first().and_then(|row| row.first()).and_then(|sum| sum.parse().ok()).unwrap_or(f64::NAN))
        }
    }
}
