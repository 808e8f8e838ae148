//! What is logged: `RUST_LOG`.

use super::ConfigError;

/// What holds without `RUST_LOG`: not what anybody can fill the log with, a line for each request that
/// is no HTTP, or that was refused before it was routed.
const DEFAULT: &str = "info,actix_http=off,actix_web_prom=error";

/// Reads `.env` and `RUST_LOG`, and writes the log to standard error from here on.
///
/// # Errors
/// `RUST_LOG` can't be read, or `.env` can't.
pub fn start_logging() -> Result<(), ConfigError> {
    super::dotenv::load()?;
    let filters = super::environment("RUST_LOG")?.filter(|text| !text.trim().is_empty());
    let filters = filters.as_deref().unwrap_or(DEFAULT);
    if env_filter::Builder::new().try_parse(filters).is_err() {
        let expected = "expected error, warn, info, debug or trace, also by module, as info,portcullis::store=debug";
        return Err(ConfigError::new("RUST_LOG", expected));
    }
    env_logger::Builder::new().parse_filters(filters).format_timestamp_millis().init();
    Ok(())
}
