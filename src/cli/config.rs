//! `portcullis config check`.

use super::CliError;
use super::output::say;
use crate::config::{Config, effective};

pub(super) fn check() -> Result<(), CliError> {
    let config = Config::check_env()?;
    for (name, value) in effective(&|name| std::env::var(name).ok()) {
        say(format_args!("{name}={value}"))?;
    }
    for warning in &config.warnings {
        say(format_args!("warning: {warning}"))?;
    }
    say(format_args!("database: {}", config.store.database))?;
    say(
        "The configuration can be used. The database was not asked: whether it answers, and whether DEFAULT_ROLE is a role in it, shows at the start.",
    )
}
