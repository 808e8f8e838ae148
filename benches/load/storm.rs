//! `GET /auth/me` while many log in: bcrypt must slow logins and nothing else.

use std::time::Duration;

use crate::client::{Load, Running};
use crate::options::Options;
use crate::report::{Report, median, whole};
use crate::service::Server;
use crate::{Failure, progress};

/// The default cost: 300 ms of processor time a login.
const BCRYPT_COST: u32 = 12;
const CLIENTS: usize = 50;
const ASKING: usize = 4;
/// Of each of them.
const PACE: Duration = Duration::from_millis(5);

const MOST_TIMES: f64 = 3.0;
const ALWAYS_GOOD_MS: f64 = 15.0;

/// Runs the storm and reports it.
///
/// # Errors
/// A server fails, or answers anything but 200.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let home = tempfile::Builder::new().prefix("portcullis-load.").tempdir()?;
    let server = Server::ours(home.path(), None, BCRYPT_COST)?;
    let request = server.me_request()?;
    let asking = Load { target: server.address, request, connections: ASKING, every: Some(PACE) }.begin()?;
    asking.pass(Duration::from_secs(1))?;
    progress("GET /auth/me at a pace, nobody logs in");
    let idle = windows(&asking, options)?;
    progress(&format!("GET /auth/me at a pace, {CLIENTS} clients log in"));
    let logins = Load { target: server.address, request: Server::login_request(), connections: CLIENTS, every: None };
    let logins = logins.begin()?;
    asking.pass(Duration::from_secs(1))?;
    let (begun, before) = (std::time::Instant::now(), logins.answered());
    let storm = windows(&asking, options)?;
    let rate = (logins.answered() - before) as f64 / begun.elapsed().as_secs_f64();
    logins.pass(Duration::ZERO)?;
    drop((asking, logins));

    let limit = (MOST_TIMES * idle.p99).max(ALWAYS_GOOD_MS);
    report.heading(format!("A storm of logins: {CLIENTS} clients, bcrypt cost {BCRYPT_COST}, SQLite"));
    report.figure("GET /auth/me asked, a second", whole(idle.per_second));
    report.figure("GET /auth/me asked, a second, in the storm", whole(storm.per_second));
    report.figure("latency, p50, nobody logs in", format!("{:.2} ms", idle.p50));
    report.figure("latency, p50, in the storm", format!("{:.2} ms", storm.p50));
    report.figure("latency, p99, nobody logs in", format!("{:.2} ms", idle.p99));
    let target = format!("<= {limit:.1} ms (3 times idle, or 15 ms)");
    report.judged("latency, p99, in the storm", format!("{:.2} ms", storm.p99), target, storm.p99 <= limit);
    report.figure("p99 storm/idle", format!("{:.2}", storm.p99 / idle.p99));
    report.figure("logins a second", format!("{rate:.1}"));
    Ok(())
}

/// Medians of the rounds.
struct Paced {
    per_second: f64,
    p50: f64,
    p99: f64,
}

fn windows(asking: &Running, options: &Options) -> Result<Paced, Failure> {
    let mut windows = Vec::new();
    for _ in 0..options.rounds {
        windows.push(asking.record(options.window, || Ok(()))?.0);
    }
    Ok(Paced {
        per_second: median(windows.iter().map(|window| window.per_second())),
        p50: median(windows.iter().map(|window| window.percentile_ms(0.5))),
        p99: median(windows.iter().map(|window| window.percentile_ms(0.99))),
    })
}
