//! The clock of the machine set back: by `libfaketime`, which lies to the process alone.

use std::path::PathBuf;

use crate::assert_whole;
use crate::support::{Backend, Database, Launch, not_tested, on_both_databases};

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|file| file.exists());
    if found.is_none() {
        not_tested("a clock that is set back: libfaketime is not installed", "TEST_FAKETIME");
    }
    found
}

fn an_hour_ago(launch: Launch, library: &PathBuf) -> Launch {
    launch.env("LD_PRELOAD", library).env("FAKETIME", "-1h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

on_both_databases! {
    async fn a_clock_that_is_set_back_leaves_ids_in_order(database: Database) {
        let Some(library) = library() else { return };
        let (mut before, mut starts) = (None, Vec::new());
        let mut launch = database.app();
        for round in 0..3 {
            let mut app = launch.clone().start().await;
            let john = if round == 0 { app.user("johndoe").await } else { app.login("johndoe", "securepassword123").await };
            for _ in 0..20 {
                app.me(&john.access).await.expect(200);
            }
            // `[2026-11-23T10:10:05.406Z INFO ...`
            let started = app.log().lines().find_map(|line| Some(line.strip_prefix('[')?.split_once(' ')?.0.to_owned()));
            starts.push(started.unwrap());
            let latest = app.audit("limit=1").await[0]["timestamp"].as_str().unwrap().to_owned();
            assert!(before.as_ref().is_none_or(|before| *before <= latest), "{before:?} {latest}");
            before = Some(latest);
            app.terminate().await;
            // Back by an hour, and then on time again.
            launch = if round == 0 { an_hour_ago(database.app(), &library) } else { database.app() };
        }
        assert!(starts[1] < starts[0] && starts[0] < starts[2], "the clock was not set back: {starts:?}");
        let falling = "SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY writer_id ORDER BY seq) AS before \
                       FROM audit_logs) AS pairs WHERE id <= before";
        assert_eq!(database.audit_scalar(falling).await.as_deref(), Some("0"));
        let count = match database.backend() {
            Backend::Sqlite => "SELECT count(*) >= 60 FROM audit_logs",
            Backend::Postgresql => "SELECT (count(*) >= 60)::int FROM audit_logs",
        };
        assert_eq!(database.audit_scalar(count).await.as_deref(), Some("1"));
        assert_whole(&database.app());
        assert_whole(&an_hour_ago(database.app(), &library));
    }
}
