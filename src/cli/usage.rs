//! What is said of a wrong usage.

use std::io::Write;

use clap::error::ErrorKind;

use super::CliError;

/// Ends the process where the arguments are none of a command: with the help or the version on standard output, or
/// with what is wrong with them in one line.
pub(super) fn exit(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    let error = CliError::Usage(in_one_line(error));
    // Where nobody can be told, the exit code says it.
    let _ = writeln!(std::io::stderr(), "portcullis: {error}; see portcullis --help");
    std::process::exit(error.exit_code().into())
}

/// Without clap's advice and usage, which follow after a blank line.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
        return format!("a command is missing: {}", usage.unwrap_or("portcullis <COMMAND>"));
    }
    let text = text.split("\n\n").next().unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default().trim_start_matches("error: ");
    let list = lines.collect::<Vec<_>>().join(", ");
    format!("{first} {list}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;

    #[test]
    fn what_is_wrong_with_a_usage_is_told_in_one_line() {
        for (arguments, told) in [
            (&["--x"][..], "unexpected argument '--x' found"),
            (&["nothing"], "unrecognized subcommand 'nothing'"),
            (&["admin"], "a command is missing: portcullis admin <COMMAND>"),
            (
                &["admin", "create"],
                "the following required arguments were not provided: --username <NAME>, --email <ADDRESS>",
            ),
            (
                &["keys", "generate", "--out", "x", "--algorithm", "none"],
                "invalid value 'none' for '--algorithm <ALGORITHM>' [possible values: EdDSA, ES256, RS256]",
            ),
        ] {
            let refused = Cli::try_parse_from([&["portcullis"], arguments].concat()).unwrap_err();
            assert!(refused.use_stderr());
            assert_eq!(in_one_line(&refused), told);
        }
        for asked in ["--help", "--version"] {
            let shown = Cli::try_parse_from(["portcullis", "admin", asked]).unwrap_err();
            assert!(!shown.use_stderr(), "{asked}");
        }
    }
}
