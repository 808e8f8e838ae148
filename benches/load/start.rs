//! The time from the start of the process to its first answer, and what it holds of memory when idle.

use std::time::Duration;

use crate::processor::resident_megabytes;
use crate::report::{Report, median};
use crate::service::Server;
use crate::{Failure, progress};

const STARTS: usize = 10;
/// After its start.
const IDLE: Duration = Duration::from_secs(2);

const MOST_MS: f64 = 300.0;
const MOST_MEGABYTES: f64 = 25.0;

/// Starts the service many times on one database and reports it. Blocks.
///
/// # Errors
/// It does not start.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    progress(&format!("{STARTS} starts on an existing SQLite file"));
    let home = tempfile::Builder::new().prefix("portcullis-load.").tempdir()?;
    drop(Server::ours(home.path(), None, 10)?);
    let mut times = Vec::new();
    let mut megabytes = f64::NAN;
    for round in 0..STARTS {
        let (server, time) = Server::timed(home.path())?;
        times.push(time.as_secs_f64() * 1e3);
        if round == 0 {
            std::thread::sleep(IDLE);
            megabytes = resident_megabytes(server.pid())?;
        }
    }
    let (typical, longest) = (median(times.iter().copied()), times.iter().copied().fold(0.0, f64::max));
    report.heading("Start, on an existing SQLite file");
    let target = format!("<= {MOST_MS} ms");
    report.judged("process start to the first 200 on GET /", format!("{typical:.0} ms"), target, typical <= MOST_MS);
    report.figure("the longest of ten", format!("{longest:.0} ms"));
    let target = format!("< {MOST_MEGABYTES} MB");
    report.judged("resident, idle", format!("{megabytes:.1} MB"), target, megabytes < MOST_MEGABYTES);
    Ok(())
}
