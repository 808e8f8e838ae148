//! The database away in the middle: what is held stands for a while, the rest says so, nothing is lost.

use std::time::Duration;

use serde_json::json;

use crate::support::{Account, Backend, Database, Launch, TestApp, eventually, slot};

/// A running app with a user, or none where there is no PostgreSQL to take away.
async fn app(settings: fn(Launch) -> Launch) -> Option<(TestApp, Account)> {
    let database = Database::fresh(Backend::Postgresql).await?;
    let app = settings(database.app().env("DATABASE_TIMEOUT_SECONDS", "1")).start().await;
    app.admin().await;
    let john = app.user("johndoe").await;
    app.me(&john.access).await.expect(200);
    Some((app, john))
}

async fn back(app: &TestApp) {
    app.database().set_away(false).await;
    eventually("the service recovers", Duration::from_secs(20), || async {
        app.get("/readyz").send().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_away_is_503_and_never_401_or_500() {
    let _slot = slot().await;
    let Some((app, john)) = app(|launch| launch).await else { return };
    let cold = app.user("colduser").await;
    app.database().set_away(true).await;
    eventually("the health check notices", Duration::from_secs(10), || async {
        app.get("/").send().await.status == 503
    })
    .await;
    let health = app.get("/").send().await.json();
    assert_eq!(health["status"], "degraded");
    app.get("/healthz").send().await.expect(200);
    app.get("/readyz").send().await.problem_of(503);
    app.get("/metrics").send().await.expect(200);
    // What needs the database.
    app.try_login("johndoe", &john.password).await.problem(503, "unavailable");
    app.try_login("nobody", &john.password).await.problem(503, "unavailable");
    app.refresh(&john.refresh).await.problem(503, "unavailable");
    app.post("/auth/register").json(&TestApp::registration("janedoe")).send().await.problem(503, "unavailable");
    app.patch("/auth/me")
        .bearer(&john.access)
        .json(&json!({"full_name": "X"}))
        .send()
        .await
        .problem(503, "unavailable");
    // A decision that is held already stands, and one that is not is not made up.
    app.me(&john.access).await.expect(200);
    app.get("/auth/verify?permission=projects:read").bearer(&john.access).send().await.expect(200);
    app.get("/auth/verify?permission=audit:read").bearer(&john.access).send().await.problem(403, "permission_required");
    app.me(&cold.access).await.expect_one_of(&[200, 503]);
    // A bad or expired token stays what it is.
    app.me(&john.forge().claim("exp", crate::support::now() - 5).token()).await.problem(401, "token_expired");
    app.me("nonsense").await.problem(401, "token_invalid");
    app.get("/auth/me").send().await.problem(401, "not_authenticated");
    let unavailable = app.try_login("johndoe", &john.password).await;
    back(&app).await;
    app.login("johndoe", &john.password).await;
    app.refresh(&john.refresh).await.expect(200);
    // All of it is in the log, the refusals too.
    eventually("the log catches up", Duration::from_secs(10), || async {
        let records = app.audit("limit=1000").await;
        let record = records
            .iter()
            .find(|record| Some(record["request_id"].as_str().unwrap()) == unavailable.header("x-request-id"));
        record.is_some_and(|record| record["outcome"] == "error" && record["response_status"] == 503)
    })
    .await;
}

/// A database that says no at once is not waited for as one that says nothing.
#[tokio::test]
async fn a_refused_connection_is_told_at_once() {
    let _slot = slot().await;
    let Some((app, john)) = app(|launch| launch.env("DATABASE_TIMEOUT_SECONDS", "10")).await else { return };
    app.database().set_away(true).await;
    // The first of each finds connections that have ended, the second none.
    for _ in 0..2 {
        let within = |answer| tokio::time::timeout(Duration::from_secs(5), answer);
        let (login, refresh, registration) = tokio::join!(
            within(app.post("/auth/login").json(&json!({"username": "johndoe", "password": john.password})).send()),
            within(app.post("/auth/refresh").json(&json!({"refresh_token": john.refresh})).send()),
            within(app.post("/auth/register").json(&TestApp::registration("janedoe")).send()),
        );
        for answer in [login, refresh, registration] {
            answer.expect("well before the time for a silent database").problem(503, "unavailable");
        }
        within(app.get("/readyz").send()).await.expect("at once").problem_of(503);
    }
    back(&app).await;
    app.login("johndoe", &john.password).await;
}

#[tokio::test]
async fn decisions_that_are_held_stand_no_longer_than_they_may() {
    let _slot = slot().await;
    let Some((app, john)) = app(|launch| launch.env("AUTHZ_MAX_STALENESS_SECONDS", "2")).await else { return };
    app.database().set_away(true).await;
    eventually("held decisions run out", Duration::from_secs(15), || async {
        let answer = app.me(&john.access).await;
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        answer.status == 503
    })
    .await;
    app.me(&john.access).await.problem(503, "unavailable");
    app.me("nonsense").await.problem(401, "token_invalid");
    back(&app).await;
    app.me(&john.access).await.expect(200);
}

#[tokio::test]
async fn records_wait_in_the_journal_over_a_restart_while_the_database_is_away() {
    let _slot = slot().await;
    let Some((mut app, john)) = app(|launch| launch).await else { return };
    app.database().set_away(true).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let answer = app.me(&john.access).await.expect_one_of(&[200, 503]);
        ids.push(answer.header("x-request-id").unwrap().to_owned());
    }
    let status = app.terminate().await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    app.database().set_away(false).await;
    let app = app.launch.clone().start().await;
    eventually("all records are found once", Duration::from_secs(10), || async {
        let records = app.audit("limit=1000").await;
        ids.iter().all(|id| records.iter().filter(|record| record["request_id"] == *id).count() == 1)
    })
    .await;
}
