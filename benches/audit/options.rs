//! What is asked for on the command line.

use std::path::PathBuf;

const HELP: &str = "\
Measures the audit log at its size: questions, export, copy, and what each index costs.

cargo bench --bench audit -- [options]
  --records N       in the large log (10000000); the small one that it is compared with has a hundredth
  --database NAME   sqlite, postgresql or both (both)
  --only PART       questions: the first page of each filter and pair, and deep pages, against the small log
                    export:    memory of the service while it exports a million records
                    verify:    `portcullis audit verify` over the large log
                    copy:      from the journal to the table, against a bare COPY or a prepared insert
                    indexes:   what each index takes of the copy, and of the disk
                    (may be given more than once; all of them without it)
  --asks N          of each question, with another value each time (200)
  --keep FOLDER     where filled logs are, or stay for the next run; without it they are gone at the end
  --url URL         a PostgreSQL server whose databases portcullis_audit_N are filled and stay (with --keep);
                    without it a private one
  --help";

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Questions,
    Export,
    Verify,
    Copy,
    Indexes,
}

/// A database that the log is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgresql,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgresql => "PostgreSQL",
        }
    }
}

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) records: u64,
    pub(crate) asks: usize,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) url: Option<String>,
    pub(crate) backends: Vec<Backend>,
    only: Vec<Part>,
}

/// What this process is to do.
pub(crate) enum Asked {
    Run(Options),
    /// Say this.
    Text(&'static str),
}

impl Options {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// One line that says which argument is wrong.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut options = Self {
            records: 10_000_000,
            asks: 200,
            keep: None,
            url: None,
            backends: vec![Backend::Sqlite, Backend::Postgresql],
            only: Vec::new(),
        };
        let (mut is_bench, mut is_alone) = (false, true);
        while let Some(argument) = arguments.next() {
            // Cargo's own.
            if argument == "--bench" {
                is_bench = true;
                continue;
            }
            is_alone = false;
            if argument == "--help" || argument == "-h" {
                return Ok(Asked::Text(HELP));
            }
            let value = arguments.next().ok_or(format!("{argument} needs a value, or is unknown: see --help"))?;
            let number = || {
                let number = value.parse::<u64>().ok().filter(|number| *number > 0);
                number.ok_or(format!("{argument} needs a number of at least 1"))
            };
            match argument.as_str() {
                "--records" => options.records = number()?.max(10_000),
                "--asks" => options.asks = usize::try_from(number()?).map_err(|error| error.to_string())?,
                "--keep" => options.keep = Some(value.into()),
                "--url" => options.url = Some(value),
                "--database" => options.backends = backends(&value)?,
                "--only" => options.only.push(part(&value)?),
                _ => return Err(format!("unknown argument {argument}: see --help")),
            }
        }
        if options.url.is_some() && options.keep.is_none() {
            return Err("--url needs --keep: the logs' other files stay there".into());
        }
        // As `cargo test --all-targets` runs it.
        if is_alone && !is_bench {
            return Ok(Asked::Text("a benchmark: cargo bench --bench audit"));
        }
        Ok(Asked::Run(options))
    }

    /// What the figures are of.
    pub(crate) fn text(&self) -> String {
        format!("audit: {} records and {}, {} asks of each question", self.records, self.small(), self.asks)
    }

    /// Records in the small log.
    pub(crate) fn small(&self) -> u64 {
        self.records / 100
    }

    /// Whether this part is asked for.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn part(name: &str) -> Result<Part, String> {
    match name {
        "questions" => Ok(Part::Questions),
        "export" => Ok(Part::Export),
        "verify" => Ok(Part::Verify),
        "copy" => Ok(Part::Copy),
        "indexes" => Ok(Part::Indexes),
        _ => Err(format!("--only questions, export, copy or indexes, not {name:?}")),
    }
}

fn backends(name: &str) -> Result<Vec<Backend>, String> {
    match name {
        "sqlite" => Ok(vec![Backend::Sqlite]),
        "postgresql" => Ok(vec![Backend::Postgresql]),
        "both" => Ok(vec![Backend::Sqlite, Backend::Postgresql]),
        _ => Err(format!("--database sqlite, postgresql or both, not {name:?}")),
    }
}
