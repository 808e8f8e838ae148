//! `portcullis audit verify` over the whole log: records a second, and memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::log::{Log, Place};
use crate::processor::resident_megabytes;
use crate::report::{Report, whole};
use crate::service::variables;
use crate::{Failure, progress};

/// Records a second.
const LEAST: f64 = 500_000.0;

/// Verifies the log, and reports it.
///
/// # Errors
/// The log can't be filled, or is not whole.
pub(crate) fn measure(place: &Place<'_>, report: &mut Report) -> Result<(), Failure> {
    let log = place.log(place.options.records)?;
    progress("verify");
    // What a command costs that looks at nothing.
    let (idle, _) = run(&log, &["--until", "2000-01-01"])?;
    let (all, megabytes) = run(&log, &[])?;
    let rate = log.records.count as f64 / all.saturating_sub(idle).as_secs_f64();
    report.heading(format!("Verify on {}: {} records", place.backend.name(), whole(log.records.count as f64)));
    report.judged("records/s", whole(rate), format!(">= {}", whole(LEAST)), rate >= LEAST);
    report.figure("all of it in", format!("{:.1} s", all.as_secs_f64()));
    report.figure("most memory", format!("{megabytes:.0} MB"));
    Ok(())
}

/// How long the command takes, and what it has in memory at most.
fn run(log: &Log, arguments: &[&str]) -> Result<(Duration, f64), Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["audit", "verify"]).args(arguments).current_dir(&*log.home).env_clear();
    command.envs(variables(&log.home)).envs(log.database.url().map(|url| ("DATABASE_URL", url)));
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut most = 0.0_f64;
    loop {
        if let Some(status) = child.try_wait()? {
            return match status.success() {
                true => Ok((begun.elapsed(), most)),
                false => Err(format!("verify: {status}").into()),
            };
        }
        // It may end meanwhile.
        most = most.max(resident_megabytes(child.id()).unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(20));
    }
}
