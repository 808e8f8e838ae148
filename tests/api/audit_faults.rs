//! What the database refuses, and what stood in the journal before, does not stop the rest.

use std::time::Duration;

use serde_json::Value;

use crate::support::{TestApp, eventually, on_both_databases};

/// A whole line of some segment, as the service wrote it.
fn some_line(folder: &std::path::Path) -> Value {
    let segments = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let text = segments
        .filter(|path| path.extension().is_some_and(|ending| ending == "ndjson"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .find(|text| !text.is_empty())
        .unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

on_both_databases! {
    async fn a_record_that_the_database_refuses_does_not_stop_the_rest(mut app: TestApp) {
        app.register("johndoe").await;
        app.get("/auth/me").send().await.expect(401);
        let folder = app.launch.data_dir().join("audit");
        let line = some_line(&folder);
        app.terminate().await;
        let record = |seq: u64, id: &str, request: &str| {
            let mut record = line.clone();
            record["seq"] = seq.into();
            record["id"] = id.into();
            record["request_id"] = request.into();
            format!("{record}\n")
        };
        // The second says that it is the first: its key is taken.
        let first = "01a20d7b-cc43-72cf-b730-b2ff7889fb01";
        let lines = [
            record(1, first, "fault-first"),
            record(2, first, "fault-culprit"),
            record(3, "01a20d7b-cc43-72cf-b730-b2ff7889fb03", "fault-third"),
        ];
        let segment = folder.join("01a20d7b-0000-7000-8000-000000000001-00000000000000000001.ndjson");
        std::fs::write(&segment, lines.concat()).unwrap();
        let app = app.launch.clone().start().await;
        eventually("the others are in the log", Duration::from_secs(10), || async {
            let records = app.audit("limit=1000").await;
            let has = |request: &str| records.iter().any(|record| record["request_id"] == request);
            assert!(!has("fault-culprit"));
            has("fault-first") && has("fault-third") && records.iter().any(|record| record["action"] == "SET_ASIDE")
        })
        .await;
        let kept = std::fs::read_to_string(folder.join("set-aside.ndjson")).unwrap();
        assert_eq!(kept.lines().count(), 1);
        assert!(kept.contains("fault-culprit"));
        let metrics = app.get("/metrics").send().await.text();
        assert!(metrics.contains("portcullis_audit_set_aside_total 1"), "{metrics}");
        assert!(metrics.contains("portcullis_audit_lost_total 0"), "{metrics}");
        // In the database, so it may go.
        assert!(!segment.exists());
    }
}
