//! The audit log's benchmark: what people and auditors wait for when there are ten million records.
//!
//! Two logs are filled with the records of [`records`], a small one and one of a hundred times its size, each
//! record sealed and linked as the service does it; then the running service is asked over HTTP, with a token,
//! each question of both in turn, so that other work on the machine hits both.
//!
//! `cargo bench --bench audit`, or `cargo bench --bench audit -- --help`.
#![expect(clippy::expect_used, reason = "a benchmark that can't go on has failed")]

mod bare;
#[path = "../../tests/support/cluster.rs"]
#[expect(dead_code, reason = "the tests' own look into its folder")]
mod cluster;
mod copy;
mod export;
#[path = "../load/http.rs"]
#[expect(dead_code, reason = "the load benchmark's own requests")]
mod http;
mod indexes;
mod log;
mod options;
#[path = "../load/processor.rs"]
#[expect(dead_code, reason = "the load benchmark's own figures")]
mod processor;
mod questions;
mod records;
#[path = "../load/report.rs"]
mod report;
#[path = "../load/service.rs"]
#[expect(dead_code, reason = "the load benchmark's own servers")]
mod service;
mod verify;

use std::process::ExitCode;

use cluster::Cluster;
use options::{Asked, Backend, Options, Part};
use report::Report;

/// Whatever ends the benchmark before its report.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("audit: {error}");
                ExitCode::FAILURE
            }
        },
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

fn run(options: &Options) -> Result<(), Failure> {
    let mut report = Report::default();
    for backend in &options.backends {
        let cluster = match (backend, &options.url) {
            (Backend::Postgresql, None) => match Cluster::start(&[])? {
                Some(cluster) => Some(cluster),
                None => {
                    report.heading("PostgreSQL: not measured, there is none");
                    continue;
                }
            },
            _ => None,
        };
        let place = log::Place { backend: *backend, cluster: cluster.as_ref(), options };
        if options.has(Part::Questions) {
            questions::measure(&place, &mut report)?;
        }
        if options.has(Part::Export) {
            export::measure(&place, &mut report)?;
        }
        if options.has(Part::Verify) {
            verify::measure(&place, &mut report)?;
        }
        if options.has(Part::Indexes) {
            indexes::measure(&place, &mut report)?;
        }
        // Last: it adds to the log.
        if options.has(Part::Copy) {
            copy::measure(&place, &mut report)?;
        }
    }
    println!("{}", report.text(&options.text()));
    Ok(())
}

/// Tells how far it is.
fn progress(text: &str) {
    eprintln!("audit: {text}");
}
