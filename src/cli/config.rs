//! `portcullis config check`.

use super::CliError;
use crate::config::{Config, effective};

pub(super) fn check() -> Result<(), CliError> {
    let config = Config::check_env()?;
    for (name, value) in effective(&|name| std::env::var(name).ok()) {
        println!("{name}={value}");
    }
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    println!("database: {}", config.store.database);
    println!(
        "The configuration can be used. The database was not asked: whether it answers, and whether DEFAULT_ROLE is a role in it, shows at the start."
    );
    Ok(())
}
