//! `portcullis audit verify`: beside a running service too, in constant memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::super::CliError;
use super::super::output::say;
use super::parse_time;
use crate::app::{AppError, check_audit_key, open_sealer};
use crate::config::Config;
use crate::domain::{RecordId, Timestamp, WriterId};
use crate::journal;
use crate::proof::{Check, CheckpointKind, Finding, Sealer, SignedCheckpoint};
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
    if store.find_audit_key().await.map_err(failed)?.is_none() {
        return Err(not_whole("the database has no audit key: it never had a log, or somebody has taken it away"));
    }
    let sealer = open_sealer(&store, &config.tokens).await?;
    check_audit_key(&config.journal.folder, &sealer)?;
    let installation = store.installation_id().await.map_err(failed)?;
    let job = Job { store, sealer, installation, folder: config.journal.folder, arguments, handed_out };
    loop {
        let signed = job.signed().await?;
        match job.check(&signed).await? {
            Ok(report) => return report.say(),
            Err(finding) => {
                // What is removed while it is read is no finding: it begins again after that.
                if job.signed().await?.retention != signed.retention {
                    continue;
                }
                return Err(not_whole(finding));
            }
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

    async fn check(&self, signed: &Signed) -> Result<Result<Report, Finding>, CliError> {
        let ends: HashMap<_, _> = self.store.chain_ends().await.map_err(failed)?.into_iter().collect();
        let writers = ends.len();
        let mut check = Check::new(
            self.sealer.clone(),
            ends.into_iter().map(|(writer, end)| (writer, (end.seq, end.hash))).collect(),
        );
        let all = signed.heads.iter().chain(&signed.in_folder).chain(&self.handed_out);
        for one in all {
            if let Err(finding) = self.is_ours(one, CheckpointKind::Heads) {
                return Ok(Err(finding));
            }
            check.expect(&one.checkpoint);
        }
        if let Some(finding) = self.follow(&mut check, signed).await? {
            return Ok(Err(finding));
        }
        let is_all = self.arguments.since.is_none() && self.arguments.until.is_none();
        let limits = match self.ends(&mut check).await? {
            Ok(limits) => limits,
            Err(finding) => return Ok(Err(finding)),
        };
        let waiting = match self.journal(&check, signed, is_all).await? {
            Ok(waiting) => waiting,
            Err(finding) => return Ok(Err(finding)),
        };
        Ok(Ok(Report {
            records: check.checked(),
            writers,
            waiting,
            gaps: check.gaps().iter().map(ToString::to_string).collect(),
            removed_before: signed.removed_before(),
            unproved: check.unproved(),
            compared: check.compared(),
            limits,
        }))
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
    async fn follow(&self, check: &mut Check, signed: &Signed) -> Result<Option<Finding>, CliError> {
        let removed_before = signed.removed_before();
        if let Some(retention) = &signed.retention
            && let Err(finding) = self.is_ours(retention, CheckpointKind::Retention)
        {
            return Ok(Some(finding));
        }
        let removed_until = removed_before.map(RecordId::time);
        // Records that were late are older than what was removed, and still have to hold.
        let is_within = self.arguments.since > removed_until;
        let start = if is_within { self.arguments.since } else { None };
        if let Some(retention) = signed.retention.as_ref().filter(|_| !is_within) {
            if let Some(first) = removed_before {
                check.skip_before(first);
            }
            for head in &retention.checkpoint.writers {
                if let Err(finding) = check.begin(head.writer_id, head.seq, head.hash) {
                    return Ok(Some(finding));
                }
            }
        }
        let bar = Bar::new(start, self.arguments.until);
        let (pages, mut read) = mpsc::channel(2);
        let reading = read_pages(self.store.clone(), start, pages);
        let checking = async {
            while let Some(page) = read.recv().await {
                for row in match page? {
                    Ok(rows) => rows,
                    Err(finding) => return Ok(Some(finding)),
                } {
                    if self.arguments.until.is_some_and(|until| row.id().time() >= until) {
                        return Ok(None);
                    }
                    if is_within && !check.knows(row.writer()) {
                        let before = self.store.last_audit_row_before(row.writer(), row.id()).await.map_err(failed)?;
                        if let Some(finding) = begin_after(check, row.writer(), before) {
                            return Ok(Some(finding));
                        }
                    }
                    let taken = match row.stored() {
                        Some(stored) => check.take(&stored),
                        None => Err(Finding::Unreadable {
                            after: format!("number {}", row.id()),
                            why: "a number is one that no record has".into(),
                        }),
                    };
                    if let Err(finding) = taken {
                        return Ok(Some(finding));
                    }
                    bar.at(row.id(), check.checked());
                }
            }
            Ok(None)
        };
        let reading = tokio::spawn(reading);
        let done = checking.await;
        reading.abort();
        bar.end();
        done
    }

    /// Whether the chains end where they should, as far as that was asked; gives what was not looked at.
    async fn ends(&self, check: &mut Check) -> Result<Result<Vec<String>, Finding>, CliError> {
        /// So many writers that have nothing in the range are looked for before it.
        const MOST_BEFORE: usize = 20;
        let now = self.store.chain_ends().await.map_err(failed)?;
        let now: HashMap<_, _> = now.into_iter().map(|(writer, end)| (writer, (end.seq, end.hash))).collect();
        if self.arguments.until.is_some() {
            return Ok(Ok(vec!["the ends of the chains, which lie behind --until".to_owned()]));
        }
        if let Err(finding) = check.settle(&now) {
            return Ok(Err(finding));
        }
        let mut limits = Vec::new();
        if self.arguments.since.is_some() {
            let mut absent: Vec<WriterId> = now.keys().copied().filter(|writer| !check.knows(*writer)).collect();
            absent.sort();
            for writer in absent.iter().take(MOST_BEFORE) {
                let last = self.store.last_audit_row_before(*writer, RecordId(Uuid::max())).await.map_err(failed)?;
                if let Some(finding) = begin_after(check, *writer, last) {
                    return Ok(Err(finding));
                }
            }
            if absent.len() > MOST_BEFORE {
                let more = absent.len() - MOST_BEFORE;
                return Ok(Ok(vec![format!("the ends of chains, for {more} writers have nothing in the range")]));
            }
            limits.push("what is older than --since".to_owned());
        }
        Ok(check.finish().map(|()| limits))
    }

    /// What waits in this instance's journal: it has to follow what is in the table.
    async fn journal(&self, check: &Check, signed: &Signed, is_all: bool) -> Result<Result<u64, Finding>, CliError> {
        let found = journal::inspect(&self.folder, &self.sealer).map_err(failed)?;
        // After the segments: what has gone meanwhile is in the table.
        let ends: HashMap<_, _> = self.store.chain_ends().await.map_err(failed)?.into_iter().collect();
        let mut waiting = 0;
        let mut written: HashMap<WriterId, u64> = ends.iter().map(|(writer, end)| (*writer, end.seq)).collect();
        for inspected in found {
            let writer = inspected.writer;
            let end = ends.get(&writer).map_or(0, |end| end.seq);
            let is_set_aside = |seq: u64| {
                let mut gaps = check.gaps().iter();
                gaps.any(|gap| gap.writer == writer && gap.range.contains(&seq))
            };
            for line in inspected.damage {
                let is_known = line.after < end && (!is_all || is_set_aside(line.after + 1));
                if !is_known {
                    return Ok(Err(Finding::Journal(format!(
                        "{line}, after number {} of writer {writer}",
                        line.after
                    ))));
                }
            }
            let mut next = end + 1;
            for run in inspected.runs.iter().filter(|run| *run.end() > end) {
                if *run.start() > next {
                    let missing = format!("numbers {next} to {} of writer {writer} are missing", run.start() - 1);
                    return Ok(Err(Finding::Journal(missing)));
                }
                waiting += run.end() - next + 1;
                next = run.end() + 1;
            }
            written.insert(writer, next - 1);
        }
        // Of the instance whose folder this is: the others' journals are elsewhere.
        let known = journal::known_writers(&self.folder).map_err(failed)?;
        for kept in signed.heads.iter().chain(&signed.in_folder).chain(&self.handed_out) {
            for head in kept.checkpoint.writers.iter().filter(|head| known.contains(&head.writer_id)) {
                let last = written.get(&head.writer_id).copied().unwrap_or(0);
                if last < head.written {
                    let range = last + 1..=head.written;
                    return Ok(Err(Finding::CutOff { writer: head.writer_id, range }));
                }
            }
        }
        Ok(Ok(waiting))
    }
}

/// Follows a writer's chain after a row that is before what is looked at.
fn begin_after(check: &mut Check, writer: WriterId, before: Option<ScannedRow>) -> Option<Finding> {
    let stored = before.as_ref().and_then(ScannedRow::stored)?;
    let hash = stored.hash.and_then(|hash| hash.try_into().ok()).unwrap_or_default();
    check.begin(writer, stored.seq, hash).err()
}

type Page = Result<Result<Vec<ScannedRow>, Finding>, CliError>;

/// Reads ahead of the checking.
async fn read_pages(store: Store, since: Option<Timestamp>, pages: mpsc::Sender<Page>) {
    let (mut after, mut limit) = (None, PAGE);
    loop {
        let page = match store.scan_audit_log(after, since, limit).await {
            Ok(rows) => {
                let Some(last) = rows.last() else { return };
                after = Some(last.id());
                Ok(Ok(rows))
            }
            // One row of the page is none: those before it are still looked at.
            Err(StoreError::Unreadable(_)) if limit > 1 => {
                limit = (limit / 10).max(1);
                continue;
            }
            Err(StoreError::Unreadable(why)) => {
                let after = after.map_or_else(|| "the beginning".to_owned(), |id| format!("record {id}"));
                Ok(Err(Finding::Unreadable { after, why }))
            }
            Err(error) => Err(failed(error)),
        };
        let is_last = !matches!(page, Ok(Ok(_)));
        if pages.send(page).await.is_err() || is_last {
            return;
        }
    }
}

/// How far it is, by the time of the records: they are not counted first.
struct Bar {
    bar: ProgressBar,
    first: std::cell::Cell<Option<Timestamp>>,
    last: Timestamp,
}

/// After how many records the bar moves.
const STEP: u64 = 10_000;

impl Bar {
    fn new(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        use crate::clock::{Clock, SystemClock};
        let now = SystemClock.now();
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed}, {eta} to go");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, first: std::cell::Cell::new(since), last: until.map_or(now, |until| until.min(now)) }
    }

    fn at(&self, id: RecordId, checked: u64) {
        if !checked.is_multiple_of(STEP) {
            return;
        }
        let first = self.first.get().unwrap_or_else(|| id.time());
        self.first.set(Some(first));
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.bar.set_length(millis(self.last.since(first)).max(1));
        self.bar.set_position(millis(id.time().since(first)));
        self.bar.set_message(format!("{checked} records, now at {}", id.time()));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
