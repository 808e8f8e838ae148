//! What is asked for on the command line.

use std::time::Duration;

const HELP: &str = "\
Measures the service against a bare actix handler, and prints a table of figures and targets.

cargo bench --bench load -- [options]
  --seconds N       of load in each measured window (5)
  --connections N   that ask at once, keep-alive (32)
  --rounds N        of alternating windows; medians are printed (3)
  --only PART       answer: GET /auth/me, the copy to the database held back
                    copy:   the same with the copy running, on SQLite and PostgreSQL
                    audit:  the answer with and without its audit record
                    storm:  GET /auth/me while 50 clients log in
                    start:  time to the first answer, and idle memory
                    provider: GET /auth/me while 200 sign-ins wait for a provider that hangs
                    propagation: from a role change to its effect on another instance
                    (may be given more than once; all of them without it)
  --help";

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Answer,
    Copy,
    Audit,
    Storm,
    Start,
    Provider,
    Propagation,
}

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    /// The measured part of a window.
    pub(crate) window: Duration,
    pub(crate) connections: usize,
    pub(crate) rounds: usize,
    only: Vec<Part>,
}

/// What this process is to do.
pub(crate) enum Asked {
    Run(Options),
    /// Be the bare server.
    Bare,
    /// Say this.
    Text(&'static str),
}

impl Options {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// One line that says which argument is wrong.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut options = Self { window: Duration::from_secs(5), connections: 32, rounds: 3, only: Vec::new() };
        let mut is_bench = false;
        let mut arguments = arguments.peekable();
        let is_alone = arguments.peek().is_none();
        while let Some(argument) = arguments.next() {
            let mut number = |least: usize| -> Result<usize, String> {
                let value = arguments.next().and_then(|value| value.parse().ok()).filter(|value| *value >= least);
                value.ok_or(format!("{argument} needs a number of at least {least}"))
            };
            match argument.as_str() {
                // Cargo's own.
                "--bench" => is_bench = true,
                "--bare" => return Ok(Asked::Bare),
                "--help" | "-h" => return Ok(Asked::Text(HELP)),
                "--seconds" => options.window = Duration::from_secs(number(1)? as u64),
                "--connections" => options.connections = number(1)?,
                "--rounds" => options.rounds = number(1)?,
                "--only" => options.only.push(part(&arguments.next().unwrap_or_default())?),
                _ => return Err(format!("unknown argument {argument}: see --help")),
            }
        }
        // As `cargo test --all-targets` runs it.
        if is_alone && !is_bench {
            return Ok(Asked::Text("a benchmark: cargo bench --bench load"));
        }
        Ok(Asked::Run(options))
    }

    /// What the figures are of.
    pub(crate) fn text(&self) -> String {
        format!(
            "load: {} connections, {} rounds of {} s, medians; {} workers in each server",
            self.connections,
            self.rounds,
            self.window.as_secs(),
            crate::service::WORKERS,
        )
    }

    /// Whether this part is asked for.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn part(name: &str) -> Result<Part, String> {
    match name {
        "answer" => Ok(Part::Answer),
        "copy" => Ok(Part::Copy),
        "audit" => Ok(Part::Audit),
        "storm" => Ok(Part::Storm),
        "start" => Ok(Part::Start),
        "provider" => Ok(Part::Provider),
        "propagation" => Ok(Part::Propagation),
        _ => Err(format!("--only answer, copy, audit, storm, start, provider or propagation, not {name:?}")),
    }
}
