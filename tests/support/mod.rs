//! What the black-box tests stand on: the real binary in a process of its own, its two databases,
//! an HTTP client that knows the shape of every answer, and raw connections for what no client sends.
//!
//! Nothing in here knows the product's code: a test sees what a client, an operator or a database
//! console sees.

mod admin;
mod app;
pub(crate) mod browser;
mod cluster;
mod database;
mod http;
mod oauth;
pub(crate) mod port;
mod postgres;
pub(crate) mod provider;
pub(crate) mod raw;
mod tokens;

pub(crate) use admin::NOBODY;
pub(crate) use app::{Account, Exit, Launch, TestApp, has_token};
pub(crate) use database::{Backend, Database};
pub(crate) use http::{Answer, Call, assert_millisecond_time, assert_uuid_v7, field_codes, items, names};
pub(crate) use oauth::parameter;
pub(crate) use tokens::{Forge, SECRET, base64url, claims, now};

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Tests that run at once, each with a process or two of its own.
static SLOTS: Semaphore = Semaphore::const_new(4);

/// Waits until fewer than four tests have their processes up; held until the test ends.
pub(crate) async fn slot() -> SemaphorePermit<'static> {
    SLOTS.acquire().await.expect("the semaphore is never closed")
}

/// What a test asks for as its argument: a running app, or a database to start its own on.
pub(crate) trait Fixture: Sized {
    /// Makes it on a fresh database.
    fn make(database: Database) -> impl Future<Output = Self>;
}

impl Fixture for TestApp {
    async fn make(database: Database) -> Self {
        database.app().start().await
    }
}

impl Fixture for Database {
    async fn make(database: Database) -> Self {
        database
    }
}

/// Runs one case on a fresh database of that kind; passes loudly where there is no server to ask.
pub(crate) async fn run<F: Fixture, Fut: Future<Output = ()>>(backend: Backend, case: fn(F) -> Fut) {
    let _slot = slot().await;
    if let Some(database) = Database::fresh(backend).await {
        case(F::make(database).await).await;
    }
}

/// Makes each rule two tests, `rule::sqlite` and `rule::postgresql`.
///
/// The argument is a [`TestApp`] with the usual settings, or a [`Database`] to start with others.
macro_rules! on_both_databases {
    ($( $(#[$meta:meta])* async fn $name:ident($($arg:ident)+ : $fixture:ty) $body:block )*) => { $(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn case($($arg)+: $fixture) $body

            #[tokio::test]
            async fn sqlite() {
                $crate::support::run($crate::support::Backend::Sqlite, case).await;
            }

            #[tokio::test]
            async fn postgresql() {
                $crate::support::run($crate::support::Backend::Postgresql, case).await;
            }
        }
    )* };
}
pub(crate) use on_both_databases;

/// The program of that name: on the PATH, or where Debian puts it, which is not on everybody's.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.exists())
}

/// Says that something was not tested, on the real standard error: the test runner would keep `eprintln!` to itself.
/// Fails where this variable is `required`.
pub(crate) fn not_tested(what: &str, variable: &str) {
    let line = format!("\nNOT TESTED: {what}\n");
    assert!(std::env::var(variable).as_deref() != Ok("required"), "{line}");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Asks again, 25 ms apart, until the answer is yes; panics with `what` after `within`.
pub(crate) async fn eventually<Fut: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut is_so: impl FnMut() -> Fut,
) {
    let deadline = Instant::now() + within;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
