//! `portcullis migrate`.

use super::CliError;
use super::output::say;
use crate::app::AppError;
use crate::config::Config;
use crate::store::Store;

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    let ran = Store::migrate(&config.store).await.map_err(AppError::from)?;
    if ran.is_empty() {
        say("The database is up to date.")?;
    }
    for migration in ran {
        say(format_args!("Ran migration {migration}."))?;
    }
    Ok(())
}
