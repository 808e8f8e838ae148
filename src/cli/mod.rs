//! The command line: one file a command.

mod admin;
mod audit;
mod config;
mod keys;
mod migrate;
mod output;
mod record;
mod roles;
mod serve;
mod usage;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app::AppError;
use crate::config::{Config, ConfigError};

/// Authentication, authorization and audit for APIs, in one binary.
#[derive(Debug, Args)]
#[command(version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

impl CommandFactory for Cli {
    fn command() -> clap::Command {
        Self::augment_args(clap::Command::new("portcullis"))
    }

    fn command_for_update() -> clap::Command {
        Self::augment_args_for_update(clap::Command::new("portcullis"))
    }
}

impl Parser for Cli {
    /// Reads the process's arguments. Help and the version are written, and a wrong usage is told in one line, as
    /// all our errors are, where clap would take a paragraph; all of these end the process.
    fn parse() -> Self {
        Self::try_parse().unwrap_or_else(|error| usage::exit(&error))
    }
}

const EXAMPLES: &str = "\
Settings come from environment variables, or from a file .env; `.env.example` names them all.

Examples:
  portcullis                                          serve on 127.0.0.1:8080, data in ./data
  PORT=0 portcullis serve                             serve on a free port; the log says which
  portcullis admin create --username root --email root@example.com
  DATABASE_URL=postgres://app@db/app portcullis migrate
  portcullis audit tail --follow                      show records as they come
  portcullis audit verify                             prove that the audit log is whole
  portcullis config check                             say what holds, and what is wrong
  portcullis keys generate --algorithm EdDSA --out /etc/portcullis/jwt.pem
  portcullis export > roles.toml                      roles and permissions as a file
  portcullis apply roles.toml --dry-run               what it would change

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default)
    Serve,
    /// Bring the database up to date, and end
    Migrate,
    /// Administrators
    #[command(subcommand)]
    Admin(AdminCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Keys that sign access tokens
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write roles and permissions as one TOML file
    Export(roles::ExportArguments),
    /// Make roles and permissions what a file says: all of it or nothing
    Apply(roles::ApplyArguments),
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Make a superuser with the role admin
    Create(admin::CreateArguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what holds, and what is wrong; opens no database
    Check,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a private key: a PEM file that only its owner can read
    Generate(keys::GenerateArguments),
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Exit 78, `EX_CONFIG` of `sysexits.h`.
    #[error("{0}")]
    Configuration(String),
    /// Exit 1.
    #[error("{0}")]
    Failed(String),
    /// Exit 2.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Configuration(_) => 78,
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error.to_string())
    }
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Configuration(text) => Self::Configuration(text),
            AppError::Failed(text) => Self::Failed(text),
        }
    }
}

impl Cli {
    /// Does what the command says.
    ///
    /// # Errors
    /// It could not be done.
    pub fn run(self) -> Result<(), CliError> {
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => in_system(serve::run(Config::from_env()?)),
            Command::Migrate => in_system(migrate::run(Config::from_env()?)),
            Command::Admin(AdminCommand::Create(arguments)) => {
                let config = Config::from_env()?;
                in_system(admin::create(config, arguments))
            }
            Command::Audit(command) => in_system(audit::run(Config::from_env()?, command)),
            Command::Config(ConfigCommand::Check) => config::check(),
            Command::Keys(KeysCommand::Generate(arguments)) => keys::generate(&arguments),
            Command::Export(arguments) => in_system(roles::export(Config::from_env()?, arguments)),
            Command::Apply(arguments) => in_system(roles::apply(Config::from_env()?, arguments)),
        }
    }
}

fn in_system(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    actix::System::new().block_on(work)
}
