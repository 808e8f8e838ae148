//! What is held in memory against what the database says: over random histories of changes, made by whom it may
//! be, on both databases, every cached answer is the answer of one plain SQL query: on the instance that made the
//! change at once, and on a second one within a second. And however many administrators are taken away at once,
//! one remains; what lets who registers administer is refused, and what the command line changes is on record.
//!
//! `PORTCULLIS_HISTORIES=200 cargo test --test policy` is the long form; without it there are a few of each kind.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "other suites use the rest")]
mod support;

mod administrators;
mod commands;
mod feed;
mod histories;
mod instance;
mod rules;
mod tables;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use instance::Pair;
use support::Backend;

/// Runs the check on fresh databases, once for each of `cases` values, or as many as `PORTCULLIS_HISTORIES` says.
fn check_all<S>(
    backend: Backend,
    cases: u32,
    values: S,
    check: impl AsyncFn(&mut Pair, &S::Value) -> Result<(), String>,
) where
    S: Strategy<Value: Debug>,
{
    let cases = std::env::var("PORTCULLIS_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let system = actix::System::new();
    let checked = TestRunner::new(config).run(&values, |value| {
        let outcome = system.block_on(async {
            // Passes where there is no PostgreSQL, and has said so.
            let Some(mut pair) = Pair::start(backend).await else { return Ok(()) };
            let outcome = check(&mut pair, &value).await;
            pair.end().await;
            outcome
        });
        outcome.map_err(TestCaseError::fail)
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}
