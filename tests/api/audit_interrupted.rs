//! Changes that are cut off in the middle, and a journal that can't be written: what is in the log then.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::{Account, Database, TestApp, eventually, on_both_databases};

/// Everything in the journal's segments.
fn journal(app: &TestApp) -> String {
    let files = std::fs::read_dir(app.launch.data_dir().join("audit")).unwrap().map(|file| file.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|ending| ending == "ndjson"));
    segments.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
}

async fn has_begun(app: &TestApp, request: &str) {
    eventually("it has begun", Duration::from_secs(10), || async {
        journal(app).lines().any(|line| line.starts_with("{\"begin\":") && line.contains(request))
    })
    .await;
}

async fn create_role(app: &TestApp, admin: &Account, request: &str) {
    let call = app.post("/admin/roles").bearer(&admin.access).header("x-request-id", request);
    // Its answer does not come, or comes too late for anybody.
    call.json(&json!({"name": request})).try_send().await.ok();
}

/// Moves the folder away, so that no segment can be begun, or back.
fn set_away(folder: &Path, is_away: bool) {
    let (from, to) = (folder.to_owned(), folder.with_extension("away"));
    let (from, to) = if is_away { (from, to) } else { (to, from) };
    std::fs::rename(from, to).unwrap();
}

on_both_databases! {
    async fn a_change_that_a_kill_cuts_off_is_recorded_once_as_an_error(mut app: TestApp) {
        let admin = app.admin().await.clone();
        let held = app.database().hold_changes().await;
        let killed = {
            let asking = create_role(&app, &admin, "cut-off");
            tokio::select! {
                () = asking => false,
                () = has_begun(&app, "cut-off") => true,
            }
        };
        assert!(killed, "it was answered:\n{}", journal(&app));
        app.kill().await;
        held.release().await;
        for _ in 0..2 {
            app = app.launch.clone().start().await;
            let mut records = app.audit("limit=1000").await;
            records.retain(|record| record["request_id"] == "cut-off");
            assert_eq!(records.len(), 1, "{records:?}");
            let record = &records[0];
            assert_eq!((&record["action"], &record["resource_type"]), (&json!("CREATE_ROLE"), &json!("role")));
            assert_eq!((&record["outcome"], &record["response_status"]), (&json!("error"), &json!(null)));
            assert_eq!((&record["source"], &record["ip_address"]), (&json!("request"), &json!("127.0.0.1")));
            assert_eq!(record["metadata"]["unfinished"], true);
            app.terminate().await;
        }
    }

    async fn a_change_that_ends_is_one_record_and_its_beginning_none(mut app: TestApp) {
        let admin = app.admin().await.clone();
        create_role(&app, &admin, "role-one").await;
        app.ask(&admin, "DELETE", "/admin/roles/nobody").await.expect(404);
        app.post("/admin/roles").json(&json!({"name": "x"})).send().await.expect(401);
        let begun = journal(&app).matches("\"begun\":").count();
        assert!(begun >= 3, "{}", journal(&app));
        // A question, whatever its method is.
        app.post("/auth/verify").bearer(&admin.access).send().await;
        assert_eq!(journal(&app).matches("\"begun\":").count(), begun);
        app.kill().await;
        app = app.launch.clone().start().await;
        let records = app.audit("limit=1000").await;
        assert!(records.iter().all(|record| record["metadata"]["unfinished"].is_null()), "{records:?}");
        assert_eq!(records.iter().filter(|record| record["request_id"] == "role-one").count(), 1);
        assert!(!app.launch.data_dir().join("audit/set-aside.ndjson").exists());
    }

    async fn a_journal_that_can_not_be_written_refuses_what_it_could_not_record(database: Database) {
        // Small segments: the next one is begun soon.
        let app = database.app().env("AUDIT_JOURNAL_MAX_BYTES", "60000").env("WORKERS", "1").start().await;
        let john = app.user("johndoe").await;
        let folder = app.launch.data_dir().join("audit");
        set_away(&folder, true);
        eventually("it is refused", Duration::from_secs(10), || async {
            app.me(&john.access).await.expect_one_of(&[200, 503]).status == 503
        })
        .await;
        // Nothing is changed that could not be recorded.
        let change = app.patch("/auth/me").bearer(&john.access).json(&json!({"full_name": "Unrecorded"}));
        change.send().await.expect(503);
        app.has_logged("requests are refused until it can be").await;
        set_away(&folder, false);
        eventually("it is taken again", Duration::from_secs(10), || async {
            app.me(&john.access).await.expect_one_of(&[200, 503]).status == 200
        })
        .await;
        let me = app.me(&john.access).await.expect(200).json();
        assert_ne!(me["full_name"], "Unrecorded");
    }

    async fn a_journal_that_can_not_be_written_counts_what_is_lost_where_that_is_allowed(database: Database) {
        let launch = database.app().env("AUDIT_JOURNAL_MAX_BYTES", "60000").env("AUDIT_FAIL_OPEN", "true");
        let app = launch.env("WORKERS", "1").start().await;
        let john = app.user("johndoe").await;
        let lost = || async {
            let text = app.get("/metrics").send().await.text();
            let line = text.lines().find(|line| line.starts_with("portcullis_audit_lost_total ")).unwrap().to_owned();
            line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
        };
        let folder = app.launch.data_dir().join("audit");
        assert_eq!(lost().await, 0.0);
        set_away(&folder, true);
        eventually("a loss is counted", Duration::from_secs(10), || async {
            app.me(&john.access).await.expect(200);
            lost().await > 0.0
        })
        .await;
        let change = app.patch("/auth/me").bearer(&john.access).json(&json!({"full_name": "Unrecorded"}));
        change.send().await.expect(200);
        set_away(&folder, false);
        eventually("no more is lost", Duration::from_secs(10), || async {
            let before = lost().await;
            app.me(&john.access).await.expect(200);
            lost().await == before
        })
        .await;
    }
}
