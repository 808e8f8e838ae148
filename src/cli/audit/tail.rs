//! `portcullis audit tail`: the last records, and those that come, in the operator's terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use super::super::CliError;
use super::super::output::say;
use crate::app::AppError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::audit::AuditRecord;
use crate::domain::{AuditFilter, AuditPage, RecordId};
use crate::store::{Store, StoreError};

/// How often new records are looked for.
const EVERY: Duration = Duration::from_millis(500);

/// For how long a record may be late, as that of another instance, and still be shown.
const LATE: Duration = Duration::from_secs(60);

/// The greatest page.
const PAGE: u32 = 1000;

#[derive(Debug, Args)]
pub(in crate::cli) struct TailArguments {
    /// Go on with the records that come, of all instances, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many records to begin with
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    lines: u32,
    /// Whole records, one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, arguments: TailArguments) -> Result<(), CliError> {
    let store = Store::open(config.store).await.map_err(AppError::from)?;
    let mut seen = BTreeSet::new();
    let last = newest(&store, None, arguments.lines).await.map_err(|error| CliError::Failed(error.to_string()))?;
    show(&arguments, &mut seen, last)?;
    if !arguments.follow {
        return Ok(());
    }
    let (begun, mut is_away) = (SystemClock.now(), false);
    loop {
        tokio::time::sleep(EVERY).await;
        let floor = begun.max(SystemClock.now().minus(LATE));
        match unseen(&store, &seen, floor).await {
            Ok(new) => {
                show(&arguments, &mut seen, new)?;
                seen.retain(|id: &RecordId| id.time() >= floor);
                is_away = false;
            }
            Err(error) => {
                if !is_away {
                    log::warn!("{error}: trying again");
                }
                is_away = true;
            }
        }
    }
}

async fn newest(store: &Store, before: Option<RecordId>, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let page = AuditPage { limit, offset: 0, before };
    Ok(store.list_audit_records(AuditFilter::default(), page).await?.items)
}

/// All records since a time that were not shown yet, newest first.
async fn unseen(
    store: &Store,
    seen: &BTreeSet<RecordId>,
    floor: crate::domain::Timestamp,
) -> Result<Vec<AuditRecord>, StoreError> {
    let mut found: Vec<AuditRecord> = Vec::new();
    loop {
        let page = newest(store, found.last().map(|record| record.id), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        let fresh = page.into_iter().take_while(|record| record.id.time() >= floor);
        let before = found.len();
        found.extend(fresh);
        if is_last || found.len() < before + PAGE as usize {
            found.retain(|record| !seen.contains(&record.id));
            return Ok(found);
        }
    }
}

fn show(
    arguments: &TailArguments,
    seen: &mut BTreeSet<RecordId>,
    newest_first: Vec<AuditRecord>,
) -> Result<(), CliError> {
    for record in newest_first.into_iter().rev() {
        match arguments.json {
            true => say(serde_json::to_string(&record).unwrap_or_default())?,
            false => say(in_a_line(&record))?,
        }
        seen.insert(record.id);
    }
    Ok(())
}

/// `2026-11-26T10:00:00.123Z 203.0.113.7 johndoe LOGIN denied 401 POST /auth/login 3 ms`.
fn in_a_line(record: &AuditRecord) -> String {
    let or_dash = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
    let status = record.response_status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let resource = match (&record.resource_type, &record.resource_id) {
        (Some(kind), Some(id)) => format!(" {kind}/{id}"),
        (Some(kind), None) => format!(" {kind}"),
        _ => String::new(),
    };
    let line = format!(
        "{} {} {} {}{resource} {} {status} {} {} {} ms",
        record.timestamp,
        or_dash(&record.ip_address),
        or_dash(&record.username),
        record.action,
        record.outcome.as_str(),
        or_dash(&record.request_method),
        or_dash(&record.request_path),
        record.duration_ms,
    );
    // What a caller sent must not move the cursor of who reads.
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
