//! `portcullis export` and `portcullis apply`: roles as code.

mod file;

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use super::output::{self, say};
use super::record::{Recorded, Recorder};
use crate::app::AppError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::{Conflict, PolicyChange, PolicyEffect};
use crate::store::{Store, StoreError};
use file::RolesFile;

/// The longest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

const NOTHING: &str = "Nothing to change.";

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
        None => output::write(text),
    }
}

pub(super) async fn apply(config: Config, arguments: ApplyArguments) -> Result<(), CliError> {
    let name = arguments.file.display().to_string();
    let text = read(&arguments.file).map_err(|error| CliError::Failed(format!("{name}: {error}")))?;
    let file = RolesFile::parse(&text).map_err(|fault| at_line(&name, fault.line, fault.why))?;
    if arguments.dry_run {
        return show(config, &name, &file, arguments.prune).await;
    }
    let (store, recorder) = Recorder::open(&config).await?;
    let records = {
        let (recorder, name) = (recorder.clone(), name.clone());
        move |steps: &[PolicyChange], effects: &[PolicyEffect]| recorder.records(recorded(steps, effects, &name))
    };
    let made = store.apply_policy(file.wanted.clone(), arguments.prune, records, SystemClock.now()).await;
    let applied = made
        .map_err(|error| refused(&name, &file, &error))?
        .map_err(|misfit| at_line(&name, file.line_of(&misfit.step), misfit.error))?;
    recorder.leave(&store, &applied.unrecorded).await?;
    if applied.steps.is_empty() {
        return say(NOTHING);
    }
    for (step, effect) in applied.steps.iter().zip(&applied.effects) {
        say(format_args!("{}{}", in_words(step), consequence(effect)))?;
    }
    say(format_args!("{} made.", counted(applied.steps.len(), "change")))
}

/// Says what would be changed.
async fn show(config: Config, name: &str, file: &RolesFile, prunes: bool) -> Result<(), CliError> {
    let default_role = config.store.default_role.clone();
    let store = Store::open(config.store).await.map_err(AppError::from)?;
    let present = store.load_policy().await.map_err(failed)?;
    let (steps, after) =
        present.plan(&file.wanted, prunes).map_err(|(step, error)| at_line(name, file.line_of(&step), error))?;
    let checked = after.compile().check_default_role(&present.compile(), &default_role);
    checked.map_err(|conflict| refused(name, file, &conflict.into()))?;
    if steps.is_empty() {
        return say(NOTHING);
    }
    for step in &steps {
        say(in_words(step))?;
    }
    say(format_args!("{} to make; nothing was changed.", counted(steps.len(), "change")))
}

fn at_line(name: &str, line: usize, why: impl Display) -> CliError {
    CliError::Failed(format!("{name}:{line}: {why}"))
}

/// What the store says of all changes together; where it is about a role, the role's line is named.
fn refused(name: &str, file: &RolesFile, error: &StoreError) -> CliError {
    let why = format!("{error}; nothing was changed");
    match error {
        StoreError::Conflict(Conflict::DefaultRole { role, .. }) => at_line(name, file.line_of_role(role), why),
        _ => CliError::Failed(format!("{name}: {why}")),
    }
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
            Recorded { action: step.action(), resource: (kind, name.to_owned()), metadata }
        })
        .collect()
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}
