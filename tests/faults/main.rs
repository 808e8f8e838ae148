//! What breaks in production, done to the real service: short in every `cargo test`, in full by `AUDIT_FAULTS=full`.
//!
//! | fault | what must hold | in full: `AUDIT_FAULTS=full cargo test --test faults ...` |
//! |---|---|---|
//! | `kill -9` under load, 3 times (100) | every answered request is in the table once, none twice; verify 0 | `kills` |
//! | PostgreSQL stopped under load, 3 s (60 s) | probes, keys, bad tokens and held decisions go on, the rest is 503, never 401 or 500; the lag drains by itself; nothing answered is lost; verify 0 | `stops` |
//! | PostgreSQL away at the start | `/healthz` 200, all else 503; the service takes the socket over, no connection is refused; what waited in the journal is copied; verify 0 | `start` |
//! | the disk of `DATA_DIR` full, 2 times (20) | 503 for what would go unrecorded, answers again when there is room; nothing lost or doubled; `AUDIT_FAIL_OPEN`: answers, and counts; verify 0 | `disk` |
//! | the clock set back by an hour | ids rise per writer; verify 0 | `clock` |
//! | two processes on one `DATA_DIR`, 3 s (30 s) | the second waits, takes over or refuses; commands work beside a running service; verify 0 | `folder` |
//! | a client resets its connection in the middle of a change | the change is done and recorded once | `cargo test --test api gone_clients` |
//! | the database refuses a record | it is set aside with a record in its place, the others go on | `cargo test --test api audit_faults` |
//! | records changed, removed, put in, moved | verify 1, naming the first | `AUDIT_PROOF_RECORDS=10000 cargo test --test api audit_proof` |
//! | passwords, tokens and keys everywhere in the requests | none is in table, journal or log | `secrets` |
//!
//! The disk needs the right to mount a tmpfs and the clock Debian's `libfaketime`: where they are missing these pass
//! loudly, unless `AUDIT_FAULTS_TMPFS=required` and `TEST_FAKETIME=required`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other suites use the rest")]
mod support;

mod clock;
mod disk;
mod folder;
mod kills;
mod load;
mod secrets;
mod start;
mod stops;

use support::{Launch, TestApp};

/// The short form, or with `AUDIT_FAULTS=full` the long one.
fn short_or_full<T>(short: T, full: T) -> T {
    if std::env::var("AUDIT_FAULTS").as_deref() == Ok("full") { full } else { short }
}

/// That the audit log proves to be whole.
#[track_caller]
fn assert_whole(launch: &Launch) {
    let exit = launch.command_line(&["audit", "verify"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

/// The value of a metric without labels.
async fn metric(app: &TestApp, name: &str) -> f64 {
    let text = app.get("/metrics").send().await.text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}
