//! The database server away when the service starts.

use std::time::{Duration, Instant};

use crate::assert_whole;
use crate::load::{Kind, Load};
use crate::support::{Database, TestApp, eventually, slot};

/// That this instance only waits.
async fn assert_waits(app: &TestApp) {
    let alive = app.get("/healthz").header("x-request-id", "mine").send().await.expect(200);
    assert_eq!((alive.text().as_str(), alive.header("x-request-id")), ("ok\n", Some("mine")));
    let health = app.get("/").send().await.expect(503);
    assert_eq!(health.json()["status"], "degraded");
    assert_eq!(health.json()["database"], "unreachable");
    assert!(health.header("x-request-id").is_some());
    app.call("HEAD", "/").send().await.expect(503);
    for path in ["/readyz", "/metrics", "/auth/me", "/nowhere"] {
        app.get(path).send().await.problem(503, "unavailable");
    }
    app.post("/").send().await.problem(503, "unavailable");
    app.me("nonsense").await.problem(503, "unavailable");
    app.try_login("johndoe", "securepassword123").await.problem(503, "unavailable");
    // However long the body is.
    app.post("/auth/login").body("application/json", vec![b'x'; 500_000]).send().await.problem(503, "unavailable");
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let _slot = slot().await;
    let Some(database) = Database::on_its_own_server() else { return };
    let launch = database.app().env("DATABASE_TIMEOUT_SECONDS", "1");
    let mut app = launch.start().await;
    let john = app.user("johndoe").await;
    app.me(&john.access).await.expect(200);
    database.set_running(false);
    for n in 0..20 {
        let call = app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("start-{n}"));
        call.send().await.expect_one_of(&[200, 503]);
    }
    app.terminate().await;
    let app = app.launch.clone().start().await;
    assert_waits(&app).await;
    let load = Load::start(&app, &john, &[Kind::Alive, Kind::Held], "start-load");
    load.more(50, |_| true).await;
    database.set_running(true);
    let begun = Instant::now();
    load.more(50, |answer| answer.kind == Kind::Held && answer.status == 200).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(load.unanswered(), Vec::<String>::new(), "refused or cut connections");
    for (id, answer) in load.end() {
        let expected: &[u16] = if answer.kind == Kind::Alive { &[200] } else { &[200, 503] };
        assert!(expected.contains(&answer.status), "{id}: {answer:?}");
    }
    app.login("johndoe", &john.password).await;
    app.get("/readyz").send().await.expect(200);
    assert_eq!(app.log().matches("the database can't be reached").count(), 1, "not said once");
    let count = "SELECT count(*) || ' ' || count(DISTINCT request_id) FROM audit_logs WHERE request_id LIKE 'start-__' \
                 OR request_id LIKE 'start-_'";
    eventually("what waited in the journal is copied", Duration::from_secs(20), || async {
        database.audit_scalar(count).await.as_deref() == Some("20 20")
    })
    .await;
    assert_whole(&app.launch);
}

#[tokio::test]
async fn a_first_start_waits_and_ends_by_sigterm() {
    let _slot = slot().await;
    let Some(database) = Database::on_its_own_server() else { return };
    database.set_running(false);
    let mut app = database.app().start().await;
    assert_waits(&app).await;
    let asked = Instant::now();
    assert_eq!(app.terminate().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // Commands don't wait.
    for command in [&["migrate"][..], &["export"], &["audit", "verify"]] {
        let exit = database.app().command_line(command, "");
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains("DATABASE_URL: the database can't be opened"), "{exit:?}");
    }
    let app = app.launch.clone().start().await;
    database.set_running(true);
    eventually("it serves", Duration::from_secs(30), || async { app.get("/readyz").send().await.status == 200 }).await;
    app.user("johndoe").await;
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_the_start() {
    let _slot = slot().await;
    let Some(database) = Database::on_its_own_server() else { return };
    let with_url = |url: &str| database.app().env("DATABASE_URL", url);
    let nobody = database.url_as("nobody_of_that_name", "kq7-Vw2");
    let elsewhere = database.url().unwrap().replace("///postgres?", "///no_such_database?");
    for url in [&nobody, &elsewhere] {
        let exit = with_url(url).serve_to_end();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains("DATABASE_URL"), "{exit:?}");
        assert!(!exit.stderr.contains("kq7-Vw2"), "{exit:?}");
    }
    let exit = with_url("postgres://db/app?sslmode=never").serve_to_end();
    assert!([Some(1), Some(78)].contains(&exit.code), "{exit:?}");
    // Also where it shows only when the server is there again.
    database.set_running(false);
    let mut app = with_url(&nobody).start().await;
    app.get("/healthz").send().await.expect(200);
    database.set_running(true);
    assert_eq!(app.wait().await.code(), Some(1));
}
