//! `portcullis serve`.

use super::CliError;
use crate::app;
use crate::config::Config;

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    Ok(app::serve(config).await?)
}
