//! What the database refuses does not stop the rest, and the log says so.

use std::time::Duration;

use crate::support::{Backend, TestApp, eventually, on_both_databases};

on_both_databases! {
    async fn a_record_that_the_database_refuses_does_not_stop_the_rest(mut app: TestApp) {
        let ask = async |path: &str, id: &str| {
            app.get(path).header("x-request-id", id).send().await.expect(401);
        };
        ask("/refused", "fault-before").await;
        assert!(!app.audit("request_id=fault-before").await.is_empty());
        // From now on this database takes no second record of that path.
        app.database()
            .audit_execute(match app.database().backend() {
                Backend::Sqlite => {
                    "CREATE UNIQUE INDEX trap ON audit_logs (request_path) WHERE request_path = '/refused'"
                }
                Backend::Postgresql => {
                    "ALTER TABLE audit_logs ADD CONSTRAINT trap CHECK (request_path <> '/refused') NOT VALID"
                }
            })
            .await;
        ask("/auth/me", "fault-first").await;
        ask("/refused", "fault-culprit").await;
        ask("/auth/me", "fault-third").await;
        eventually("the others are in the log", Duration::from_secs(10), || async {
            let records = app.audit("limit=1000").await;
            let has = |request: &str| records.iter().any(|record| record["request_id"] == request);
            assert!(!has("fault-culprit"));
            has("fault-first") && has("fault-third") && records.iter().any(|record| record["action"] == "SET_ASIDE")
        })
        .await;
        let kept = std::fs::read_to_string(app.launch.data_dir().join("audit/set-aside.ndjson")).unwrap();
        assert_eq!(kept.lines().count(), 1);
        assert!(kept.contains("fault-culprit"));
        let metrics = app.get("/metrics").send().await.text().to_owned();
        assert!(metrics.contains("portcullis_audit_set_aside_total 1"), "{metrics}");
        assert!(metrics.contains("portcullis_audit_lost_total 0"), "{metrics}");
        // The gap is signed: the log is whole, and says what it has not.
        app.terminate().await;
        let exit = app.database().app().command_line(&["audit", "verify"], "");
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(exit.stdout.contains("Set aside: 1 from number "), "{exit:?}");
    }
}
