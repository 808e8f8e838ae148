//! Clients that go away in the middle: what was done for them stands, and is in the log.

use std::time::Duration;

use serde_json::json;

use crate::support::{TestApp, eventually, items, names, on_both_databases};

/// The bytes of a request that makes this role.
fn creation(token: &str, role: &str) -> String {
    let body = json!({"name": role}).to_string();
    format!(
        "POST /admin/roles HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The roles of this test that there are, sorted.
async fn made(app: &TestApp) -> Vec<String> {
    let roles = app.ask(app.admin().await, "GET", "/admin/roles?limit=1000").await.expect(200).json();
    let mut made = names(items(&roles), "name");
    made.retain(|name| name.starts_with("reset-"));
    made.sort();
    made
}

/// The roles that the log says were made, sorted: one for each record.
async fn recorded(app: &TestApp) -> Vec<String> {
    let mut records = app.audit("action=CREATE_ROLE&limit=1000").await;
    records.retain(|record| record["response_status"] == 201);
    let mut recorded = names(&records, "resource_id");
    recorded.sort();
    recorded
}

/// How far the server is when the connection is reset.
#[derive(Clone, Copy, PartialEq)]
enum Reset {
    /// The bytes have been sent.
    AtOnce,
    /// They have been read: they stand behind another request, whose answer has come.
    WhenRead,
}

/// Asks for ten roles and waits for none.
async fn ask_and_reset(app: &TestApp, reset: Reset, round: &str) {
    let token = &app.admin().await.access;
    for n in 0..10 {
        let creation = creation(token, &format!("reset-{round}-{n}"));
        if reset == Reset::AtOnce {
            app.send_and_reset(creation.as_bytes()).await;
        } else {
            let ping = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
            app.send_and_reset_at_the_answer(format!("{ping}{creation}").as_bytes()).await;
        }
    }
}

on_both_databases! {
    async fn a_change_is_recorded_once_also_where_its_client_resets_the_connection(app: TestApp) {
        ask_and_reset(&app, Reset::AtOnce, "at-once").await;
        ask_and_reset(&app, Reset::WhenRead, "when-read").await;
        eventually("each role that was made is in the log, once", Duration::from_secs(10), || async {
            let made = made(&app).await;
            !made.is_empty() && made == recorded(&app).await
        })
        .await;
    }

    /// A client that is gone is no connection, and a worker without connections stops at once.
    async fn a_change_whose_client_is_gone_is_recorded_also_while_the_service_stops(mut app: TestApp) {
        // How far each has come when the stop does is chance.
        for round in ["first", "second", "third"] {
            ask_and_reset(&app, Reset::WhenRead, round).await;
            app.terminate().await;
            app = app.launch.clone().start().await;
        }
        let made = made(&app).await;
        eventually("what the journal keeps is in the log", Duration::from_secs(10), || async {
            recorded(&app).await.len() >= made.len()
        })
        .await;
        assert_eq!(recorded(&app).await, made);
    }
}
