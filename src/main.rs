//! The program `portcullis`: see the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use portcullis::cli::Cli;
use portcullis::config::start_logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start_logging().map_err(Into::into).and_then(|()| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
