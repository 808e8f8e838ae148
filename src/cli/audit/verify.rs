//! `portcullis audit verify`: beside a running service too, in constant memory.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::super::CliError;
use super::super::output::say;
use super::parse_time;
use super::progress::Bar;
use crate::app::{AppError, check_audit_key, find_sealer};
use crate::config::Config;
use crate::domain::{RecordId, Timestamp, WriterId};
use crate::journal::{self, JournalError};
use crate::proof::{Check, CheckpointKind, Finding, Mac, Sealer, SignedCheckpoint};
use crate::store::{Database, KeptCheckpoint, ScannedRow, Store, StoreError};

/// How many rows are read at once.
const PAGE: u32 = 10_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArguments {
    /// From this time on (inclusive): 2026-11-26, or 2026-11-26T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Up to this time (exclusive)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// A checkpoint that was handed out earlier (GET /audit/checkpoint)
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

pub(super) async fn run(config: Config, arguments: VerifyArguments) -> Result<(), CliError> {
    let handed_out = arguments.checkpoint.as_ref().map(read_checkpoint).transpose()?;
    if let Database::Sqlite(path) = &config.store.database
        && !path.exists()
    {
        return Err(CliError::Failed(format!("{}: there is no database here: is DATA_DIR right?", path.display())));
    }
    let store = Store::open(config.store).await.map_err(AppError::from)?;
    let Some(sealer) = find_sealer(&store, &config.tokens).await? else {
        return Err(not_whole("the database has no audit key: it never had a log, or somebody has taken it away"));
    };
    check_audit_key(&config.journal.folder, &sealer)?;
    let installation = store.installation_id().await.map_err(failed)?;
    let job = Job { store, sealer, installation, folder: config.journal.folder, arguments, handed_out };
    loop {
        let signed = job.signed().await?;
        match job.check(&signed).await {
            Ok(report) => return report.say(),
            // What is removed while it is read is no finding: it begins again after that.
            Err(Stop::NotWhole(_)) if job.signed().await?.retention != signed.retention => {}
            Err(stop) => return Err(stop.into()),
        }
    }
}

/// Why it goes no further.
enum Stop {
    /// This does not hold.
    NotWhole(Finding),
    /// What it reads can't be read.
    Failed(CliError),
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::NotWhole(finding)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(failed(error))
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Failed(failed(error))
    }
}

impl From<Stop> for CliError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::NotWhole(finding) => not_whole(finding),
            Stop::Failed(error) => error,
        }
    }
}

fn not_whole(why: impl std::fmt::Display) -> CliError {
    CliError::Failed(format!("the audit log is NOT whole: {why}"))
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

fn read_checkpoint(path: &PathBuf) -> Result<SignedCheckpoint, CliError> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| CliError::Failed(format!("{name}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| CliError::Failed(format!("{name}: no checkpoint: {error}")))
}

struct Job {
    store: Store,
    sealer: Sealer,
    installation: Uuid,
    folder: PathBuf,
    arguments: VerifyArguments,
    handed_out: Option<SignedCheckpoint>,
}

/// What was signed of this log.
struct Signed {
    retention: Option<SignedCheckpoint>,
    heads: Vec<SignedCheckpoint>,
    /// The one in the journal's folder.
    in_folder: Option<SignedCheckpoint>,
}

impl Signed {
    fn removed_before(&self) -> Option<RecordId> {
        self.retention.as_ref().and_then(|retention| retention.checkpoint.removed_before)
    }
}

struct Report {
    records: u64,
    writers: usize,
    waiting: u64,
    gaps: Vec<String>,
    removed_before: Option<RecordId>,
    unproved: u64,
    compared: u64,
    /// What was not looked at.
    limits: Vec<String>,
}

impl Report {
    fn say(&self) -> Result<(), CliError> {
        let Self { records, writers, waiting, compared, unproved, .. } = self;
        say(format_args!("The audit log is whole: {records} records of {writers} writers hold."))?;
        say(format_args!("Ends of chains that were signed, and are as they were: {compared}."))?;
        say(format_args!("Still in the journal, and sealed: {waiting} records."))?;
        if let Some(id) = self.removed_before {
            say(format_args!("Removed by retention, as was signed: what is older than {}.", id.time()))?;
        }
        if *unproved > 0 {
            say(format_args!("Not proved, for it is older than that and still to be removed: {unproved} records."))?;
        }
        for limit in &self.limits {
            say(format_args!("Not looked at: {limit}."))?;
        }
        for gap in &self.gaps {
            say(format_args!("Set aside: {gap}."))?;
        }
        Ok(())
    }
}

impl Job {
    async fn signed(&self) -> Result<Signed, CliError> {
        let retention = self.store.newest_checkpoint(CheckpointKind::Retention).await.map_err(failed)?;
        let heads = self.store.list_checkpoints(CheckpointKind::Heads, Uuid::nil(), u32::MAX).await.map_err(failed)?;
        let read = |kept: KeptCheckpoint| {
            kept.signed.ok_or_else(|| not_whole(format_args!("the checkpoint {} was changed", kept.id)))
        };
        Ok(Signed {
            retention: retention.map(read).transpose()?,
            heads: heads.into_iter().map(read).collect::<Result<_, _>>()?,
            in_folder: journal::kept_checkpoint(&self.folder).map_err(not_whole)?,
        })
    }

    /// All that was signed of the chains' ends.
    fn heads<'a>(&'a self, signed: &'a Signed) -> impl Iterator<Item = &'a SignedCheckpoint> {
        signed.heads.iter().chain(&signed.in_folder).chain(&self.handed_out)
    }

    /// Where the chains end now.
    async fn chain_ends(&self) -> Result<HashMap<WriterId, (u64, Mac)>, Stop> {
        let ends = self.store.chain_ends().await?;
        Ok(ends.into_iter().map(|(writer, end)| (writer, (end.seq, end.hash))).collect())
    }

    async fn check(&self, signed: &Signed) -> Result<Report, Stop> {
        let ends = self.chain_ends().await?;
        let writers = ends.len();
        let mut check = Check::new(self.sealer.clone(), ends);
        for one in self.heads(signed) {
            self.is_ours(one, CheckpointKind::Heads)?;
            check.expect(&one.checkpoint);
        }
        self.follow(&mut check, signed).await?;
        let limits = self.ends(&mut check).await?;
        let waiting = self.journal(&check, signed).await?;
        Ok(Report {
            records: check.checked(),
            writers,
            waiting,
            gaps: check.gaps().iter().map(ToString::to_string).collect(),
            removed_before: signed.removed_before(),
            unproved: check.unproved(),
            compared: check.compared(),
            limits,
        })
    }

    /// Whether a checkpoint is of this log, and signed by its key.
    fn is_ours(&self, signed: &SignedCheckpoint, kind: CheckpointKind) -> Result<(), Finding> {
        let at = signed.checkpoint.timestamp;
        let problem = if !signed.is_consistent() {
            "does not hold: its signature does not fit what it says"
        } else if signed.checkpoint.kind != kind {
            "is of another kind"
        } else if signed.checkpoint.installation_id != self.installation {
            "is of another database"
        } else if !self.sealer.has_signed(signed) {
            "was signed by another key than this log has now: the log was rewritten with its key"
        } else {
            return Ok(());
        };
        Err(Finding::Checkpoint(format!("the checkpoint of {at} {problem}")))
    }

    /// Follows the chains through the table.
    async fn follow(&self, check: &mut Check, signed: &Signed) -> Result<(), Stop> {
        let removed_before = signed.removed_before();
        if let Some(retention) = &signed.retention {
            self.is_ours(retention, CheckpointKind::Retention)?;
        }
        // Records that were late are older than what was removed, and still have to hold.
        let is_within = self.arguments.since > removed_before.map(RecordId::time);
        let start = if is_within { self.arguments.since } else { None };
        if let Some(retention) = signed.retention.as_ref().filter(|_| !is_within) {
            check.begin_after(removed_before, &retention.checkpoint.writers)?;
        }
        let bar = Bar::new(start, self.arguments.until);
        let (pages, read) = mpsc::channel(2);
        let reading = tokio::spawn(read_pages(self.store.clone(), start, pages));
        let done = self.take_all(check, read, is_within, &bar).await;
        reading.abort();
        bar.end();
        done
    }

    /// `is_within`: the chains are followed from the first record of each writer that comes.
    async fn take_all(
        &self,
        check: &mut Check,
        mut pages: mpsc::Receiver<Page>,
        is_within: bool,
        bar: &Bar,
    ) -> Result<(), Stop> {
        while let Some(page) = pages.recv().await {
            for row in page? {
                if self.arguments.until.is_some_and(|until| row.id().time() >= until) {
                    return Ok(());
                }
                if is_within && !check.knows(row.writer()) {
                    self.begin_before(check, row.writer(), row.id()).await?;
                }
                check.take(&row.stored()?)?;
                bar.at(row.id(), check.checked());
            }
        }
        Ok(())
    }

    /// A writer's chain is followed after its last row before an id, if it has one.
    async fn begin_before(&self, check: &mut Check, writer: WriterId, id: RecordId) -> Result<(), Stop> {
        let before = self.store.last_audit_row_before(writer, id).await?;
        let Some(stored) = before.as_ref().and_then(|row| row.stored().ok()) else { return Ok(()) };
        let hash = stored.hash.and_then(|hash| hash.try_into().ok()).unwrap_or_default();
        Ok(check.begin(writer, stored.seq, hash)?)
    }

    /// Whether the chains end where they should, as far as that was asked; gives what was not looked at.
    async fn ends(&self, check: &mut Check) -> Result<Vec<String>, Stop> {
        /// So many writers that have nothing in the range are looked for before it.
        const MOST_BEFORE: usize = 20;
        if self.arguments.until.is_some() {
            return Ok(vec!["the ends of the chains, which lie behind --until".to_owned()]);
        }
        let now = self.chain_ends().await?;
        check.settle(&now)?;
        let mut limits = Vec::new();
        if self.arguments.since.is_some() {
            let mut absent: Vec<WriterId> = now.keys().copied().filter(|writer| !check.knows(*writer)).collect();
            absent.sort();
            for writer in absent.iter().take(MOST_BEFORE) {
                self.begin_before(check, *writer, RecordId(Uuid::max())).await?;
            }
            if absent.len() > MOST_BEFORE {
                let more = absent.len() - MOST_BEFORE;
                return Ok(vec![format!("the ends of chains, for {more} writers have nothing in the range")]);
            }
            limits.push("what is older than --since".to_owned());
        }
        check.finish()?;
        Ok(limits)
    }

    /// What waits in this instance's journal: it has to follow what is in the table.
    async fn journal(&self, check: &Check, signed: &Signed) -> Result<u64, Stop> {
        let is_all = self.arguments.since.is_none() && self.arguments.until.is_none();
        let found = journal::inspect(&self.folder, &self.sealer)?;
        // After the segments: what has gone meanwhile is in the table.
        let ends = self.chain_ends().await?;
        let mut waiting = 0;
        let mut written: HashMap<WriterId, u64> = ends.into_iter().map(|(writer, (end, _))| (writer, end)).collect();
        for inspected in found {
            let writer = inspected.writer;
            let end = written.get(&writer).copied().unwrap_or(0);
            let is_set_aside =
                |seq: u64| check.gaps().iter().any(|gap| gap.writer == writer && gap.range.contains(&seq));
            for line in inspected.damage {
                let is_known = line.after < end && (!is_all || is_set_aside(line.after + 1));
                if !is_known {
                    return Err(
                        Finding::Journal(format!("{line}, after number {} of writer {writer}", line.after)).into()
                    );
                }
            }
            let mut next = end + 1;
            for run in inspected.runs.iter().filter(|run| *run.end() > end) {
                if *run.start() > next {
                    let missing = format!("numbers {next} to {} of writer {writer} are missing", run.start() - 1);
                    return Err(Finding::Journal(missing).into());
                }
                waiting += run.end() - next + 1;
                next = run.end() + 1;
            }
            written.insert(writer, next - 1);
        }
        // Of the instance whose folder this is: the others' journals are elsewhere.
        let known = journal::known_writers(&self.folder)?;
        for kept in self.heads(signed) {
            for head in kept.checkpoint.writers.iter().filter(|head| known.contains(&head.writer_id)) {
                let last = written.get(&head.writer_id).copied().unwrap_or(0);
                if last < head.written {
                    return Err(Finding::CutOff { writer: head.writer_id, range: last + 1..=head.written }.into());
                }
            }
        }
        Ok(waiting)
    }
}

type Page = Result<Vec<ScannedRow>, Stop>;

/// Reads ahead of the checking.
async fn read_pages(store: Store, since: Option<Timestamp>, pages: mpsc::Sender<Page>) {
    let mut after = None;
    loop {
        let page = match store.scan_audit_log(after, since, PAGE).await {
            Ok(rows) => {
                let Some(last) = rows.last() else { return };
                after = Some(last.id());
                Ok(rows)
            }
            Err(StoreError::Unreadable(why)) => Err(Finding::Unreadable { after, why }.into()),
            Err(error) => Err(error.into()),
        };
        let is_last = page.is_err();
        if pages.send(page).await.is_err() || is_last {
            return;
        }
    }
}
