//! What the audit journal costs: `GET /auth/me` with it and with `ENABLE_AUDIT_LOGGING=false`, in alternating
//! windows; the copy to the database is held back, and stands beside it in the part `copy`.

use crate::options::Options;
use crate::report::{Report, median, whole};
use crate::subject::{Copy, Subject, Unrecorded};
use crate::{Failure, progress};

/// What the journal may add to the processor time of an answer.
const MOST: f64 = 1.15;

/// Runs the rounds and reports them.
///
/// # Errors
/// A server fails, or answers anything but 200.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let without = Unrecorded::start()?;
    let mut with = Subject::start("SQLite", None)?;
    let (mut ratios, mut plain, mut recorded, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        progress(&format!("round {round} of {}: without the audit log", options.rounds));
        let off = without.window(options)?;
        progress(&format!("round {round} of {}: with it", options.rounds));
        let on = with.window(Copy::HeldBack, options)?;
        ratios.push(on.answer_us() / off.answer_us());
        plain.push(off.answer_us());
        recorded.push(on.answer_us());
        rates.push(on.window.per_second() / off.window.per_second());
    }
    report.heading("GET /auth/me with and without the audit log, AUDIT_FSYNC=everysec");
    report.figure("processor time a request without it", format!("{:.1} us", median(plain)));
    report.figure("processor time a request with it", format!("{:.1} us", median(recorded)));
    let ratio = median(ratios);
    report.judged(
        "processor time with/without (answer path)",
        format!("{ratio:.2}"),
        format!("<= {MOST}"),
        ratio <= MOST,
    );
    report.figure("throughput with/without", format!("{:.2}", median(rates)));
    report.figure("rounds", whole(options.rounds as f64));
    Ok(())
}
