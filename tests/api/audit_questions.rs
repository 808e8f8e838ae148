//! Finding records by whatever is known of them, page by page, and taking them out of the house.

use serde_json::{Value, json};

use crate::support::{Backend, Database, TestApp, items, on_both_databases};

async fn ask(app: &TestApp, path: &str) -> Value {
    app.get(path).bearer(&app.admin().await.access).send().await.expect(200).json()
}

async fn find(app: &TestApp, query: &str) -> Vec<Value> {
    items(&ask(app, &format!("/audit/logs?{query}")).await).to_vec()
}

/// A few requests of several users, with several ends.
async fn history(app: &TestApp) {
    let john = app.user("John.Doe").await;
    let jane = app.user("janedoe").await;
    app.me(&john.access).await.expect(200);
    app.me(&jane.access).await.expect(200);
    app.get("/audit/logs").bearer(&john.access).send().await.expect(403);
    app.get("/nowhere/at/all").bearer(&jane.access).send().await.expect(404);
    app.try_login("janedoe", "wrong-password").await.expect(401);
    app.patch("/auth/me").bearer(&john.access).json(&json!({"email": "none"})).send().await.expect(422);
    app.get("/auth/me").bearer(&jane.access).header("x-request-id", "the-one").send().await.expect(200);
}

/// So many records of long ago, of which the oldest alone has the path `/rare`.
async fn many(database: &Database, count: u32) {
    let (id, time, numbers) = match database.backend() {
        Backend::Postgresql => (
            "lpad(to_hex(1000000000000 + n), 12, '0') || '70008000000000000000'",
            "to_timestamp((1000000000000 + n) / 1000.0)",
            format!("generate_series(1, {count}) AS numbers (n)"),
        ),
        Backend::Sqlite => (
            "unhex(printf('%012x', 1000000000000 + n) || '70008000000000000000')",
            "1000000000000 + n",
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
                 SELECT n FROM numbers)"
            ),
        ),
    };
    let cast = if database.backend() == Backend::Postgresql { "::uuid" } else { "" };
    let writer = database.id("01890000-0000-7000-8000-000000000000");
    database
        .audit_execute(&format!(
            "INSERT INTO audit_logs (id, writer_id, seq, timestamp, action, request_path, outcome, duration_ms, source) \
             SELECT ({id}){cast}, {writer}, n, {time}, 'OLD', CASE n WHEN 1 THEN '/rare' ELSE '/common' END, \
             'success', 0, 'request' FROM {numbers}"
        ))
        .await;
}

on_both_databases! {
    async fn each_filter_finds_what_it_names_and_nothing_else(app: TestApp) {
        history(&app).await;
        let all = find(&app, "limit=1000").await;
        for (filter, field, value) in [
            ("username=JOHN.doe", "username", json!("John.Doe")),
            ("action=LOGIN", "action", json!("LOGIN")),
            ("outcome=denied", "outcome", json!("denied")),
            ("outcome=failure", "outcome", json!("failure")),
            ("method=PATCH", "request_method", json!("PATCH")),
            ("status=404", "response_status", json!(404)),
            ("request_id=the-one", "request_id", json!("the-one")),
        ] {
            let found = find(&app, &format!("limit=1000&{filter}")).await;
            assert!(!found.is_empty() && found.iter().all(|record| record[field] == value), "{filter}: {found:?}");
            let expected = all.iter().filter(|record| record[field] == value).count();
            assert_eq!(found.iter().filter(|record| all.contains(record)).count(), expected, "{filter}");
        }
        let paths = find(&app, "limit=1000&path=/nowhere").await;
        assert!(paths.len() == 1 && paths[0]["request_path"] == "/nowhere/at/all", "{paths:?}");
        assert!(find(&app, "path=nowhere").await.is_empty());
        assert!(find(&app, "path=/nowhere%25").await.is_empty(), "a % is no wildcard");
        assert_eq!(find(&app, "limit=1000&ip_address=::ffff:127.0.0.1&action=REGISTER").await.len(), 2);
        assert!(find(&app, "ip_address=127.0.0.2").await.is_empty());
        // And in pairs.
        let pair = find(&app, "action=LOGIN&outcome=denied").await;
        assert_eq!(pair.len(), 1, "{pair:?}");
        assert_eq!(find(&app, "username=john.doe&status=422").await.len(), 1);
        assert!(find(&app, "username=janedoe&status=422").await.is_empty());
    }

    async fn a_malformed_filter_is_refused_with_its_field(app: TestApp) {
        for (query, field) in [
            ("outcome=maybe", "outcome"),
            ("status=99", "status"),
            ("status=x", "status"),
            ("ip_address=localhost", "ip_address"),
            ("username=a&username=b", "username"),
            ("cursor=zzz", "cursor"),
            ("cursor=0190d0a07c1e7d3a9b7e0242ac120002&offset=1", "cursor"),
        ] {
            for path in ["/audit/logs", "/audit/export", "/audit/stats"] {
                if path != "/audit/logs" && field == "cursor" {
                    continue;
                }
                let call = app.get(&format!("{path}?{query}")).bearer(&app.admin().await.access);
                let problem = call.send().await.problem(422, "validation_error");
                assert_eq!(problem["errors"][0]["field"], field, "{path}?{query}: {problem}");
            }
        }
        for query in ["bucket=week", "by=colour"] {
            let call = app.get(&format!("/audit/stats?{query}")).bearer(&app.admin().await.access);
            call.send().await.problem(422, "validation_error");
        }
        let call = app.get("/audit/export?format=xls").bearer(&app.admin().await.access);
        call.send().await.problem(422, "validation_error");
    }

    async fn pages_by_cursor_have_each_record_once_newest_first(app: TestApp) {
        history(&app).await;
        // What is older than this question stays as it is.
        let until = items(&ask(&app, "/audit/logs?limit=1").await)[0]["timestamp"].as_str().unwrap().to_owned();
        let whole: Vec<Value> = find(&app, &format!("limit=1000&until={until}")).await;
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = ask(&app, &format!("/audit/logs?limit=3&until={until}&cursor={cursor}")).await;
            walked.extend(items(&page).to_vec());
            assert_eq!(page["has_more"], !page["next_cursor"].is_null(), "{page}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        assert_eq!(walked, whole);
        let ids: Vec<&str> = whole.iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    }

    async fn a_question_without_an_index_stops_and_says_where_to_go_on(app: TestApp) {
        many(app.database(), 25_000).await;
        let (mut pages, mut path) = (0, "/audit/logs?path=/rare".to_owned());
        let found = loop {
            let page = ask(&app, &path).await;
            pages += 1;
            if let Some(record) = items(&page).first() {
                break record.clone();
            }
            let next = page["next_cursor"].as_str().expect("more to look through");
            path = format!("/audit/logs?path=/rare&cursor={next}");
        };
        assert_eq!(found["action"], "OLD");
        assert!((5..=10).contains(&pages), "{pages} pages");
        // What an index answers is answered at once.
        assert_eq!(find(&app, "action=OLD&limit=1000&offset=10000").await.len(), 1000);
    }

    async fn a_pair_is_walked_to_its_end_and_gives_each_record_once_newest_first(app: TestApp) {
        many(app.database(), 10_000).await;
        // Along the index of actions, whose records are more than a page looks at.
        for (path, expected) in [("/rare", 1), ("/common", 9_999)] {
            let (mut ids, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = ask(&app, &format!("/audit/logs?action=OLD&path={path}&limit=1000&cursor={cursor}")).await;
                ids.extend(items(&page).iter().map(|record| record["id"].as_str().unwrap().to_owned()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = next.to_owned();
            }
            assert_eq!(ids.len(), expected);
            assert!(ids.is_sorted_by(|newer, older| newer > older));
        }
        // Whichever of two indexes it goes along.
        assert!(find(&app, "action=OLD&username=nobody").await.is_empty());
        assert_eq!(find(&app, "action=LOGIN&username=root_admin").await, find(&app, "action=LOGIN").await);
        assert_eq!(find(&app, "action=OLD&outcome=success&limit=1000&offset=9500").await.len(), 500);
    }

    async fn one_record_is_read_by_its_id(app: TestApp) {
        history(&app).await;
        let record = find(&app, "request_id=the-one").await.remove(0);
        let path = format!("/audit/logs/{}", record["id"].as_str().unwrap());
        assert_eq!(ask(&app, &path).await, record);
        let admin = app.admin().await;
        for id in ["0190d0a0-7c1e-7d3a-9b7e-0242ac120002", "7"] {
            app.ask(admin, "GET", &format!("/audit/logs/{id}")).await.problem(404, "not_found");
        }
        let viewer = app.user("viewer").await;
        for path in [&path, "/audit/export", "/audit/stats"] {
            app.ask(&viewer, "GET", path).await.problem(403, "permission_required");
        }
    }

    async fn an_export_has_every_record(app: TestApp) {
        history(&app).await;
        many(app.database(), 2_500).await;
        let event = json!({"action": "ODD", "resource_id": "=1+1", "metadata": {"text": "a \"b\"\r\n,c"}});
        app.post("/audit/events").bearer(&app.admin().await.access).json(&event).send().await.expect(201);
        let odd = find(&app, "action=ODD").await.remove(0);

        let call = app.get("/audit/export?format=ndjson&action=OLD").bearer(&app.admin().await.access);
        let answer = call.send().await.expect(200);
        assert_eq!(answer.header("content-type").unwrap(), "application/x-ndjson");
        let records: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 2_500);
        assert_eq!(records[..100], find(&app, "action=OLD").await[..]);

        let call = app.get("/audit/export?until=2100-01-01T00:00:00Z").bearer(&app.admin().await.access);
        let answer = call.send().await.expect(200);
        assert_eq!(answer.header("content-type").unwrap(), "text/csv; charset=utf-8");
        assert_eq!(answer.header("content-disposition").unwrap(), "attachment; filename=\"audit-logs.csv\"");
        let text = answer.text();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let fields: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(fields, odd.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert!(rows.len() > 2_500);
        let row = rows.iter().find(|row| &row[4] == "ODD").unwrap();
        assert_eq!(&row[0], odd["id"].as_str().unwrap());
        assert_eq!(&row[6], "'=1+1", "a spreadsheet would run it");
        assert_eq!(serde_json::from_str::<Value>(&row[15]).unwrap(), odd["metadata"]);
        assert!(rows.iter().find(|row| &row[4] == "OLD").unwrap()[3].is_empty(), "null is an empty cell");
        assert!(text.split_inclusive('\n').all(|line| line.ends_with("\r\n")));
    }

    async fn records_are_counted_by_time_and_kind(app: TestApp) {
        history(&app).await;
        many(app.database(), 100).await;
        let count = |stats: &Value, key: Value| -> i64 {
            let counted = items(stats).iter().filter(|item| item["key"] == key);
            counted.map(|item| item["count"].as_i64().unwrap()).sum()
        };
        let stats = ask(&app, "/audit/stats").await;
        assert_eq!(count(&stats, json!("REGISTER")), 2);
        assert_eq!(count(&stats, json!("OLD")), 0, "long before");
        let by_user = ask(&app, "/audit/stats?by=user&bucket=hour&action=REGISTER").await;
        assert_eq!((count(&by_user, json!("John.Doe")), count(&by_user, json!("janedoe"))), (1, 1));
        let old = ask(&app, "/audit/stats?by=outcome&bucket=hour&since=2001-01-01T00:00:00Z&action=OLD").await;
        assert_eq!(count(&old, json!("success")), 100);
        assert_eq!(items(&old)[0]["bucket"], "2001-09-09T01:00:00.000Z");
        let nobody = ask(&app, "/audit/stats?by=user&since=2001-01-01T00:00:00Z&action=OLD").await;
        assert_eq!(count(&nobody, Value::Null), 100);
        assert_eq!(items(&nobody)[0]["bucket"], "2001-09-09T00:00:00.000Z");
    }
}
