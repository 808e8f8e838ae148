//! The end of the process, kind or not: what was answered is in the audit log once, and nothing twice.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Account, Database, TestApp, eventually, on_both_databases};

/// How the service ends in the middle of the load.
#[derive(Clone, Copy)]
enum End {
    Terminated,
    Killed,
}

/// Sends up to 300 requests of three kinds over six connections, each with a request id of its own;
/// ends the service when a third of them are answered. Gives each answered id with its status.
async fn answered_until(app: &mut TestApp, john: &Account, end: End, round: usize) -> BTreeMap<String, u16> {
    let answered = Mutex::new(BTreeMap::new());
    let (enough, mut is_enough) = tokio::sync::watch::channel(false);
    let port = app.port();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    let sender = |lane: usize| {
        let (client, answered, enough) = (client.clone(), &answered, &enough);
        async move {
            for n in 0..50 {
                let id = format!("load-{round}-{lane}-{n}");
                let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
                let call = match n % 3 {
                    0 => client.get(url("/auth/me")),
                    1 => client.patch(url("/auth/me")).json(&json!({"full_name": id})),
                    _ => client.get(url("/nowhere")),
                };
                let call = call.bearer_auth(&john.access).header("x-request-id", &id);
                let Ok(response) = call.send().await else { continue };
                let mut answered = answered.lock().unwrap();
                answered.insert(id, response.status().as_u16());
                if answered.len() == 100 {
                    enough.send_replace(true);
                }
            }
        }
    };
    let load = futures_util::future::join_all((0..6).map(sender));
    let ending = async {
        let third = tokio::time::timeout(Duration::from_secs(60), is_enough.wait_for(|enough| *enough));
        third.await.expect("a third is answered").expect("somebody sends");
        match end {
            End::Killed => app.kill().await,
            End::Terminated => {
                let status = app.terminate().await;
                assert_eq!(status.code(), Some(0), "{status:?}");
            }
        }
    };
    tokio::join!(load, ending);
    answered.into_inner().unwrap()
}

async fn nothing_answered_is_lost_or_doubled(database: Database, end: End) {
    let mut app = database.app().start().await;
    let john = app.user("johndoe").await;
    let mut all = BTreeMap::new();
    for round in 0..2 {
        let answered = answered_until(&mut app, &john, end, round).await;
        assert!(answered.len() >= 100, "{}", answered.len());
        all.extend(answered);
        let launch = app.launch.clone();
        drop(app);
        app = launch.start().await;
    }
    let found: Mutex<Vec<Value>> = Mutex::default();
    eventually("every answered request is in the log", Duration::from_secs(10), || async {
        let records = app.audit("limit=1000").await;
        let is_whole = all.keys().all(|id| records.iter().any(|record| record["request_id"] == *id));
        *found.lock().unwrap() = records;
        is_whole
    })
    .await;
    let mut counts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in found.into_inner().unwrap() {
        counts.entry(record["request_id"].as_str().unwrap().to_owned()).or_default().push(record);
    }
    for (id, records) in &counts {
        assert_eq!(records.len(), 1, "{id} is there {} times: {records:?}", records.len());
    }
    for (id, status) in &all {
        assert_eq!(counts[id][0]["response_status"], *status, "{id}");
    }
}

on_both_databases! {
    async fn a_kill_loses_and_doubles_no_answered_record(database: Database) {
        nothing_answered_is_lost_or_doubled(database, End::Killed).await;
    }

    async fn a_sigterm_drains_and_loses_no_record(database: Database) {
        nothing_answered_is_lost_or_doubled(database, End::Terminated).await;
    }

    async fn a_sigterm_lets_the_running_requests_end(mut app: TestApp) {
        app.register("johndoe").await;
        // bcrypt keeps this one busy for a while.
        let body = r#"{"username": "johndoe", "password": "securepassword123"}"#;
        let login = app.begin_post("/auth/login", body).await;
        // Answered on connections of their own that came later, some on each worker: the login is under way.
        for _ in 0..8 {
            app.raw("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await;
        }
        let (status, answer) = tokio::join!(app.terminate(), login);
        assert_eq!(status.code(), Some(0), "{status:?}");
        answer.expect(200);
    }

    async fn a_sigterm_leaves_the_log_whole_in_the_database(mut app: TestApp) {
        let john = app.user("johndoe").await;
        for n in 0..20 {
            app.get("/auth/me")
                .bearer(&john.access)
                .header("x-request-id", &format!("last-{n}"))
                .send()
                .await
                .expect(200);
        }
        app.terminate().await;
        let count = app.database().audit_scalar("SELECT count(*) FROM audit_logs WHERE request_id LIKE 'last-%'").await;
        assert_eq!(count.as_deref(), Some("20"));
    }

    async fn a_write_whose_client_goes_away_is_done_and_recorded(app: TestApp) {
        let john = app.user("johndoe").await;
        let body = r#"{"full_name": "written by one who left"}"#;
        for n in 0..10 {
            let request = format!(
                "PATCH /auth/me HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nX-Request-Id: left-{n}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                john.access,
                body.len()
            );
            app.send_and_leave(request.as_bytes()).await;
        }
        eventually("what was begun is done", Duration::from_secs(5), || async {
            app.me(&john.access).await.json()["full_name"] == "written by one who left"
        })
        .await;
        eventually("and recorded", Duration::from_secs(5), || async {
            !app.audit("action=UPDATE_PROFILE").await.is_empty()
        })
        .await;
    }
}
