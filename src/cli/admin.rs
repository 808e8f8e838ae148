//! `portcullis admin create`.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Map;

use super::CliError;
use super::output::say;
use super::record::{Recorded, Recorder};
use crate::actors::{Lifecycle, Passwords};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::{Email, FieldError, FullName, NewPassword, RoleName, UserId, Username};
use crate::store::{NewUser, StoreError};

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// 3 to 64 of A-Z, a-z, 0-9, . _ -
    #[arg(long, value_name = "NAME")]
    username: String,
    /// A valid address
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// The person's name
    #[arg(long, value_name = "NAME")]
    full_name: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

pub(super) async fn create(config: Config, arguments: CreateArguments) -> Result<(), CliError> {
    let refuse = |error: FieldError| CliError::Failed(format!("{}: {}", error.field, error.message));
    let username = Username::parse(&arguments.username).map_err(refuse)?;
    let email = Email::parse(&arguments.email).map_err(refuse)?;
    let full_name = arguments.full_name.as_deref().map(FullName::parse).transpose().map_err(refuse)?;
    let password = read_password(arguments.password_stdin)?;
    let password =
        NewPassword::parse(&password, config.api.password_policy, Some(&username), Some(&email)).map_err(refuse)?;

    let (store, recorder) = Recorder::open(&config).await?;
    let passwords = Passwords::start(config.passwords, &Lifecycle::default())
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let hash = passwords.hash(password).await.map_err(|error| CliError::Failed(error.to_string()))?;
    let new = NewUser {
        id: UserId::generate(),
        username,
        email: Some(email),
        is_email_verified: false,
        full_name,
        password_hash: Some(hash),
        is_superuser: true,
        roles: vec![RoleName::admin()],
        now: SystemClock.now(),
    };
    let records = recorder.records(vec![recorded(&new)]);
    let (user, unrecorded) = store.create_user_recorded(new, records).await.map_err(|error| {
        CliError::Failed(match error {
            StoreError::UsernameTaken => format!("username: {} is taken", arguments.username),
            StoreError::EmailTaken => format!("email: {} is taken", arguments.email),
            other => other.to_string(),
        })
    })?;
    recorder.leave(&store, &unrecorded).await?;
    let (name, id, database) = (user.username, user.id, config.store.database);
    say(format_args!("Made {name} ({id}), a superuser with the role admin, in {database}."))
}

fn recorded(new: &NewUser) -> Recorded {
    let metadata = Map::from_iter([
        ("created_username".to_owned(), new.username.as_str().into()),
        ("is_superuser".to_owned(), new.is_superuser.into()),
    ]);
    Recorded { action: "CREATE_USER", resource: ("user", new.id.to_string()), metadata }
}

fn read_password(is_from_stdin: bool) -> Result<SecretString, CliError> {
    let fail = |error: std::io::Error| CliError::Failed(format!("the password can't be read: {error}"));
    if is_from_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(fail)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned().into());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage("there is no terminal to ask for the password: use --password-stdin".into()));
    }
    let first: SecretString = rpassword::prompt_password("Password: ").map_err(fail)?.into();
    let second: SecretString = rpassword::prompt_password("Once more: ").map_err(fail)?.into();
    if first.expose_secret() != second.expose_secret() {
        return Err(CliError::Failed("the two passwords differ".into()));
    }
    Ok(first)
}
