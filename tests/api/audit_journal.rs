//! The journal under the log: its limit, its damage, and a database that is away while requests come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Backend, Database, TestApp, eventually, on_both_databases, slot};

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "ndjson") && !path.ends_with("set-aside.ndjson"))
        .collect()
}

/// The value of a metric without labels.
async fn metric(app: &TestApp, name: &str) -> f64 {
    let text = app.get("/metrics").send().await.text().to_owned();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

on_both_databases! {
    async fn a_full_journal_refuses_and_takes_more_when_the_database_has_its_records(database: Database) {
        let app = database.app().env("AUDIT_JOURNAL_MAX_BYTES", "20000").start().await;
        let john = app.user("johndoe").await;
        let (mut answered, mut refused) = (0, 0);
        for n in 0..400 {
            let call = app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("full-{n}"));
            match call.send().await.expect_one_of(&[200, 503]).status {
                200 => answered += 1,
                _ => {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        // About 18 kB of records fit at once: more than that went through.
        assert!(answered > 100, "{answered} answered, {refused} refused");
        eventually("it takes requests again", Duration::from_secs(5), || async {
            app.me(&john.access).await.status == 200
        })
        .await;
        app.has_logged("the audit journal has reached half of AUDIT_JOURNAL_MAX_BYTES").await;
        let count = "SELECT count(*) FROM audit_logs WHERE request_id LIKE 'full-%' AND response_status = 200";
        eventually("all that was answered is in the log", Duration::from_secs(5), || async {
            app.database().audit_scalar(count).await == Some(answered.to_string())
        })
        .await;
    }

    async fn a_damaged_line_of_the_journal_leaves_a_record_that_says_so(mut app: TestApp) {
        let john = app.user("johndoe").await;
        let folder = app.launch.data_dir().join("audit");
        // Killed before the copy: the records are in the journal only, and one of them is damaged there.
        for n in 0..20 {
            app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("damage-{n}")).send().await;
        }
        app.kill().await;
        let mut damaged = 0;
        for path in segments(&folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            let bent = text.replace("\"damage-19\"", "\"damage-\u{7}19\"");
            damaged += usize::from(bent != text);
            std::fs::write(&path, bent).unwrap();
        }
        assert_eq!(damaged, 1);
        let is_copied = "SELECT count(*) FROM audit_logs WHERE request_id = 'damage-19'";
        let was_copied = app.database().audit_scalar(is_copied).await.as_deref() == Some("1");
        let app = app.launch.clone().start().await;
        eventually("the others are in the log, once", Duration::from_secs(10), || async {
            let records = app.audit("limit=1000").await;
            let times = |n: usize| records.iter().filter(|r| r["request_id"] == format!("damage-{n}")).count();
            (0..19).all(|n| times(n) == 1)
        })
        .await;
        if !was_copied {
            let stand_ins = app.audit("action=SET_ASIDE").await;
            assert_eq!(stand_ins.len(), 1, "{stand_ins:?}");
            assert_eq!(stand_ins[0]["metadata"]["set_aside"], "a line of the journal can't be read");
            assert!(std::fs::read_to_string(folder.join("set-aside.ndjson")).unwrap().contains("19"));
        }
    }

    async fn a_nul_in_a_path_does_not_hide_who_asked(app: TestApp) {
        let john = app.user("johndoe").await;
        let answer = app.delete("/auth/sessions/%00").bearer(&john.access).send().await;
        let record = app.record_of(&answer).await;
        assert_eq!(record["action"], "END_SESSION");
        assert_eq!(record["username"], "johndoe");
        assert_eq!(record["ip_address"], "127.0.0.1");
    }

    async fn the_lag_in_seconds_is_an_age_and_not_how_long_records_have_been_coming(app: TestApp) {
        let lag = || metric(&app, "portcullis_audit_lag_seconds");
        for _ in 0..30 {
            app.get("/nowhere").send().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(lag().await < 1.0);
        eventually("nothing is behind", Duration::from_secs(5), || async { lag().await == 0.0 }).await;
    }
}

#[tokio::test]
async fn records_wait_while_the_database_is_away_and_then_drain_by_themselves() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let app = database.app().env("DATABASE_TIMEOUT_SECONDS", "1").start().await;
    let john = app.user("johndoe").await;
    app.me(&john.access).await.expect(200);
    app.database().set_away(true).await;
    for n in 0..60 {
        let call = app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("away-{n}"));
        call.send().await.expect_one_of(&[200, 503]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(metric(&app, "portcullis_audit_retries_total").await >= 1.0);
    eventually("the lag shows", Duration::from_secs(2), || async {
        metric(&app, "portcullis_audit_lag_records").await >= 60.0
    })
    .await;
    assert!(metric(&app, "portcullis_audit_lag_seconds").await >= 1.0);
    app.database().set_away(false).await;
    let count = "SELECT count(*) || ' ' || count(DISTINCT request_id) FROM audit_logs WHERE request_id LIKE 'away-%'";
    eventually("all of them are there, once", Duration::from_secs(20), || async {
        app.database().audit_scalar(count).await.as_deref() == Some("60 60")
    })
    .await;
    assert_eq!(metric(&app, "portcullis_audit_lost_total").await, 0.0);
}

/// More at once than arrays are for: they go by COPY.
#[tokio::test]
async fn a_large_backlog_comes_into_the_database_once_and_whole() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let mut app = database.app().start().await;
    app.me("nonsense").await.expect(401);
    assert!(!app.audit("limit=10").await.is_empty());
    database.set_away(true).await;
    let lanes = (0..8).map(|lane| {
        let app = &app;
        async move {
            for n in 0..500 {
                let id = format!("backlog-{lane}-{n}");
                app.get("/auth/me").header("x-request-id", &id).send().await.expect(401);
            }
        }
    });
    futures_util::future::join_all(lanes).await;
    database.set_away(false).await;
    let count =
        "SELECT count(*) || ' ' || count(DISTINCT request_id) FROM audit_logs WHERE request_id LIKE 'backlog-%'";
    eventually("all of it is in the log, once", Duration::from_secs(30), || async {
        database.audit_scalar(count).await.as_deref() == Some("4000 4000")
    })
    .await;
    let metrics = app.get("/metrics").send().await.text().to_owned();
    let batches = |which: &str| -> u64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("portcullis_audit_batch_records_{which}")));
        line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
    };
    assert!(batches("bucket{le=\"1000\"}") < batches("count"), "none was large: {metrics}");
    app.terminate().await;
    let exit = database.app().command_line(&["audit", "verify"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[tokio::test]
async fn an_instance_on_a_copy_of_anothers_data_says_so_and_keeps_its_records() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    // One worker each: else the two may happen to answer by workers that are not the same writer.
    let mut first = database.app().env("WORKERS", "1").start().await;
    let john = first.user("johndoe").await;
    first.terminate().await;
    let copy = database.another_app().env("WORKERS", "1");
    let (from, to) = (first.launch.data_dir().join("audit"), copy.data_dir().join("audit"));
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    // They start alike, and then both write as the same writers.
    let (first, second) = (first.launch.clone().start().await, copy.start().await);
    for (app, name) in [(&first, "first"), (&second, "second")] {
        for n in 0..20 {
            let call = app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("{name}-{n}"));
            call.send().await.expect(200);
        }
    }
    eventually("it is said", Duration::from_secs(10), || async {
        format!("{}{}", first.log(), second.log()).contains("another process writes as audit writer")
    })
    .await;
    // What is not in the table is in a journal still.
    for (app, name) in [(&first, "first"), (&second, "second")] {
        let journal: String = segments(&app.launch.data_dir().join("audit"))
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for n in 0..20 {
            let id = format!("{name}-{n}");
            let query = format!("SELECT count(*) FROM audit_logs WHERE request_id = '{id}'");
            let is_in_table = app.database().audit_scalar(&query).await.as_deref() == Some("1");
            assert!(is_in_table || journal.contains(&format!("\"{id}\"")), "{id} is lost");
        }
    }
}
