//! The load benchmark: `GET /auth/me` with everything on, against a bare actix handler in the same run.
//!
//! Both servers are processes of their own with two workers; the load comes from this one, over loopback.
//! Other work on the machine hits all of them, so what counts are the ratios: the rounds alternate, a
//! ratio is taken within one round, and what is printed is the median of the rounds.
//!
//! `cargo bench --bench load`, or `cargo bench --bench load -- --help`.

mod answer;
mod audit;
mod bare;
mod client;
#[path = "../../tests/support/cluster.rs"]
#[expect(dead_code, reason = "the tests end it before they do")]
mod cluster;
mod http;
mod options;
mod processor;
mod propagation;
mod provider;
#[expect(dead_code, reason = "the lines of the audit benchmark's tables")]
mod report;
mod service;
mod start;
mod storm;
mod subject;

use std::process::ExitCode;

use options::{Asked, Options, Part};
use report::Report;

/// The service's own allocator, so that the bare handler has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever ends the benchmark before its report.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(Asked::Bare) => done(bare::serve()),
        Ok(Asked::Run(options)) => done(run(&options)),
        Ok(Asked::Text(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn done(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut report = Report::default();
    if options.has(Part::Answer) || options.has(Part::Copy) {
        answer::measure(options, &mut report)?;
    }
    if options.has(Part::Audit) {
        audit::measure(options, &mut report)?;
    }
    if options.has(Part::Storm) {
        storm::measure(options, &mut report)?;
    }
    if options.has(Part::Start) {
        start::measure(&mut report)?;
    }
    if options.has(Part::Provider) {
        provider::measure(options, &mut report)?;
    }
    if options.has(Part::Propagation) {
        propagation::measure(options, &mut report)?;
    }
    println!("{}", report.text(&options.text()));
    Ok(())
}

/// Tells how far it is.
fn progress(text: &str) {
    eprintln!("load: {text}");
}
