//! `GET /auth/me` with everything on, against the bare handler, in alternating rounds: with the copy of
//! the audit records to the database held back, and with it running on SQLite and on PostgreSQL.

use crate::cluster::Cluster;
use crate::options::{Options, Part};
use crate::processor;
use crate::report::{Report, median, whole};
use crate::service::Server;
use crate::subject::{Copied, Copy, Sample, Subject, bare_window};
use crate::{Failure, progress};

/// What the service may cost against the bare handler.
const LEAST_THROUGHPUT: f64 = 0.6;
const MOST_PROCESSOR: f64 = 2.2;

/// The rounds of one configuration.
struct Series {
    copy: Copy,
    /// Which of the subjects.
    subject: usize,
    rounds: Vec<Round>,
}

/// One window of ours, and the bare handler's figures just before it.
struct Round {
    bare_per_second: f64,
    bare_us: f64,
    ours: Sample,
}

/// Runs the rounds and reports them.
///
/// # Errors
/// A server fails, or answers anything but 200.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let bare = Server::bare()?;
    let mut subjects = vec![Subject::start("SQLite", None)?];
    let mut plan = Vec::new();
    if options.has(Part::Answer) {
        plan.push(Series::new(Copy::HeldBack, 0));
    }
    if options.has(Part::Copy) {
        plan.push(Series::new(Copy::Running, 0));
        match Cluster::start(&[])? {
            Some(cluster) => {
                subjects.push(Subject::start("PostgreSQL", Some(cluster))?);
                plan.push(Series::new(Copy::Running, 1));
            }
            None => progress("PostgreSQL is not measured: no server binaries found"),
        }
    }
    let mut bares = Vec::new();
    for round in 1..=options.rounds {
        for series in &mut plan {
            let subject = &mut subjects[series.subject];
            progress(&format!("round {round} of {}: bare handler", options.rounds));
            let sample = bare_window(options, &bare)?;
            let (bare_per_second, bare_us) = (sample.window.per_second(), sample.answer_us());
            bares.push(sample);
            progress(&format!("round {round} of {}: {}", options.rounds, series.title(subject)));
            let ours = subject.window(series.copy, options)?;
            series.rounds.push(Round { bare_per_second, bare_us, ours });
        }
    }
    report.heading("The bare handler: 60 bytes of JSON");
    common(report, &bares.iter().collect::<Vec<_>>());
    for series in &plan {
        report.heading(series.title(&subjects[series.subject]));
        series.report(report);
    }
    report.heading("Memory after the load");
    for subject in &subjects {
        let megabytes = processor::resident_megabytes(subject.server.pid())?;
        report.figure(format!("resident, on {}", subject.name), format!("{megabytes:.1} MB"));
    }
    Ok(())
}

fn common(report: &mut Report, samples: &[&Sample]) {
    let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(|sample| figure(sample)));
    report.figure("requests a second", whole(of(|sample| sample.window.per_second())));
    let latencies = (of(|sample| sample.window.percentile_ms(0.5)), of(|sample| sample.window.percentile_ms(0.99)));
    report.figure("latency, p50", format!("{:.2} ms", latencies.0));
    report.figure("latency, p99", format!("{:.2} ms", latencies.1));
    report.figure("processor time a request, answer path", format!("{:.1} us", of(Sample::answer_us)));
    report.figure("processor time a request, all other threads", format!("{:.1} us", of(Sample::beside_us)));
    report.figure("processor time a request, the load itself", format!("{:.1} us", of(Sample::asking_us)));
}

impl Series {
    fn new(copy: Copy, subject: usize) -> Self {
        Self { copy, subject, rounds: Vec::new() }
    }

    fn title(&self, subject: &Subject) -> String {
        match self.copy {
            Copy::HeldBack => "GET /auth/me, the copy to the database held back".to_owned(),
            Copy::Running => format!("GET /auth/me, the copy to {} running", subject.name),
        }
    }

    fn report(&self, report: &mut Report) {
        let samples: Vec<&Sample> = self.rounds.iter().map(|round| &round.ours).collect();
        common(report, &samples);
        let of = |figure: fn(&Round) -> f64| median(self.rounds.iter().map(figure));
        let throughput = of(|round| round.ours.window.per_second() / round.bare_per_second);
        let processor = of(|round| round.ours.answer_us() / round.bare_us);
        let text = format!("{throughput:.2}");
        match self.copy {
            Copy::HeldBack => {
                let target = format!(">= {LEAST_THROUGHPUT}");
                report.judged("throughput ours/bare", text, target, throughput >= LEAST_THROUGHPUT);
            }
            // What the copy takes is stated; on two cores it takes it from the answers.
            Copy::Running => report.figure("throughput ours/bare", text),
        }
        let (target, is_met) = (format!("<= {MOST_PROCESSOR}"), processor <= MOST_PROCESSOR);
        report.judged("processor time ours/bare (answer path)", format!("{processor:.2}"), target, is_met);
        let copied: Vec<&Copied> = samples.iter().filter_map(|sample| sample.copied.as_ref()).collect();
        if !copied.is_empty() {
            report_copied(report, &copied);
        }
    }
}

fn report_copied(report: &mut Report, copied: &[&Copied]) {
    let of = |figure: fn(&Copied) -> f64| median(copied.iter().map(|copied| figure(copied)));
    report.figure("records to the database, during the load", format!("{}/s", whole(of(Copied::per_second))));
    report.figure("records left in the journal at its end", whole(of(|copied| copied.left as f64)));
    report.figure("drained after it in", format!("{:.2} s", of(|copied| copied.drain.as_secs_f64())));
    let rate = of(|copied| copied.left as f64 / copied.drain.as_secs_f64());
    report.figure("records to the database, then", format!("{}/s", whole(rate)));
    report.figure("processor time a record, the service's copy", format!("{:.1} us", of(Copied::own_us)));
    let database = of(Copied::database_us);
    if database.is_finite() {
        report.figure("processor time a record, PostgreSQL itself", format!("{database:.1} us"));
    }
}
