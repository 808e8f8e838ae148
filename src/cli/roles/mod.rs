//! `portcullis export` and `portcullis apply`: roles as code.

mod file;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::CliError;
use super::record::{Recorded, open, record};
use crate::app::AppError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::{Authority, PolicyChange, PolicyDraft, PolicyEffect};
use crate::store::{Store, StoreError};
use file::RolesFile;

/// The longest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// How often a plan is made when somebody else changes roles meanwhile.
const ATTEMPTS: usize = 3;

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArguments {
    /// The file; `-` is standard input
    file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also delete the roles and permissions that the file does not name, built-in ones apart
    #[arg(long)]
    prune: bool,
}

pub(super) async fn export(config: Config, arguments: ExportArguments) -> Result<(), CliError> {
    let store = Store::open(config.store).await.map_err(AppError::from)?;
    let text = file::write(&store.load_policy().await.map_err(failed)?);
    match arguments.out {
        Some(path) => {
            std::fs::write(&path, text).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
        }
        None => std::io::stdout().write_all(text.as_bytes()).map_err(failed),
    }
}

pub(super) async fn apply(config: Config, arguments: ApplyArguments) -> Result<(), CliError> {
    let name = arguments.file.display().to_string();
    let text = read(&arguments.file).map_err(|error| CliError::Failed(format!("{name}: {error}")))?;
    let at_line = |line, why: &str| CliError::Failed(format!("{name}:{line}: {why}"));
    let file = RolesFile::parse(&text).map_err(|fault| at_line(fault.line, &fault.why))?;
    let store = open(&config).await?;
    for attempt in 1.. {
        let present = store.load_policy().await.map_err(failed)?;
        let steps = present.changes_to(&file.wanted, arguments.prune);
        try_out(&present, &steps).map_err(|(step, why)| at_line(file.line_of(step), &why))?;
        if steps.is_empty() {
            println!("Nothing to change.");
            return Ok(());
        }
        if arguments.dry_run {
            steps.iter().for_each(|step| println!("{}", in_words(step)));
            println!("{} to make; nothing was changed.", counted(steps.len(), "change"));
            return Ok(());
        }
        match store.change_policy(Authority::System, steps.clone(), SystemClock.now()).await {
            Ok(effects) => {
                for (step, effect) in steps.iter().zip(&effects) {
                    println!("{}{}", in_words(step), consequence(effect));
                }
                if config.audit.is_enabled {
                    record(&store, &config.journal.folder, recorded(&steps, &effects, &name)).await?;
                }
                println!("{} made.", counted(steps.len(), "change"));
                return Ok(());
            }
            // Somebody else was faster: what is to be done may be something else now.
            Err(StoreError::NoSuchRole | StoreError::NoSuchPermission | StoreError::Conflict(_))
                if attempt < ATTEMPTS => {}
            Err(error) => return Err(CliError::Failed(format!("{name}: {error}; nothing was changed"))),
        }
    }
    Ok(())
}

/// The first change that can't be made, and why.
fn try_out<'a>(present: &PolicyDraft, steps: &'a [PolicyChange]) -> Result<(), (&'a PolicyChange, String)> {
    let mut draft = present.clone();
    for step in steps {
        draft.apply(step).map_err(|error| (step, error.to_string()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| error.to_string())?)
    };
    let mut text = String::new();
    let length = source.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > MAX_BYTES {
        return Err("the file is longer than 1 MiB".into());
    }
    Ok(text)
}

/// `+` comes, `-` goes, `~` is another way.
fn in_words(change: &PolicyChange) -> String {
    match change {
        PolicyChange::CreatePermission(name, description) => format!("+ permission {name}: {description:?}"),
        PolicyChange::DescribePermission(name, description) => format!("~ permission {name}: {description:?}"),
        PolicyChange::DeletePermission(name) => format!("- permission {name}"),
        PolicyChange::CreateRole(role, description) => format!("+ role {role}: {description:?}"),
        PolicyChange::DescribeRole(role, description) => format!("~ role {role}: {description:?}"),
        PolicyChange::DeleteRole(role) => format!("- role {role}"),
        PolicyChange::Grant(role, grant) => format!("~ role {role}: grants {grant}"),
        PolicyChange::Revoke(role, grant) => format!("~ role {role}: grants {grant} no more"),
        PolicyChange::Include(role, other) => format!("~ role {role}: includes {other}"),
        PolicyChange::Exclude(role, other) => format!("~ role {role}: includes {other} no more"),
    }
}

fn consequence(effect: &PolicyEffect) -> String {
    match effect {
        PolicyEffect::RoleDeleted { users, .. } if !users.is_empty() => {
            format!(" ({} had it)", counted(users.len(), "user"))
        }
        _ => String::new(),
    }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn recorded(steps: &[PolicyChange], effects: &[PolicyEffect], file: &str) -> Vec<Recorded> {
    steps
        .iter()
        .zip(effects)
        .map(|(step, effect)| {
            let (kind, name) = step.resource();
            let mut metadata = step.metadata(effect);
            metadata.insert("file".into(), file.into());
            Recorded { action: step.action(), resource: (kind, name.to_owned()), metadata: Value::Object(metadata) }
        })
        .collect()
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}
