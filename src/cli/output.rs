//! What commands say on standard output.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::CliError;

/// Says a line. Who reads may have seen enough, as `head -1`: then the rest is for nobody, and that is no failure.
pub(super) fn say(line: impl Display) -> Result<(), CliError> {
    write(format_args!("{line}\n"))
}

/// Writes text as it is.
pub(super) fn write(text: impl Display) -> Result<(), CliError> {
    match write!(io::stdout().lock(), "{text}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("standard output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}
