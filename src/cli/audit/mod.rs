//! `portcullis audit`: the log checked as a whole, and followed.

mod progress;
mod tail;
mod verify;

use clap::Subcommand;

use super::CliError;
use crate::config::Config;
use crate::domain::Timestamp;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no record was changed, removed, put in or moved
    Verify(verify::VerifyArguments),
    /// Show the last records, and with --follow those that come
    Tail(tail::TailArguments),
}

pub(super) async fn run(config: Config, command: AuditCommand) -> Result<(), CliError> {
    match command {
        AuditCommand::Verify(arguments) => verify::run(config, arguments).await,
        AuditCommand::Tail(arguments) => tail::run(config, arguments).await,
    }
}

/// A time as people type it: RFC 3339, or a day.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let day = format!("{text}T00:00:00Z");
    Timestamp::parse(text)
        .or_else(|_| Timestamp::parse(&day))
        .map_err(|_| "expected a time as 2026-11-26T10:00:00Z, or a day as 2026-11-26".to_owned())
}
