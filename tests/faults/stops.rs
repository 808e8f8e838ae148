//! The database server stopped and started again, under load.

use std::time::{Duration, Instant};

use crate::load::{Kind, Load, assert_recorded_once};
use crate::support::{Database, eventually, slot};
use crate::{assert_whole, metric, short_or_full};

const ALL: &[Kind] = &[Kind::Held, Kind::Change, Kind::Unknown, Kind::BadToken, Kind::Login, Kind::Alive, Kind::Keys];

#[tokio::test]
async fn a_server_that_stops_costs_503_and_no_record() {
    let _slot = slot().await;
    let Some(database) = Database::on_its_own_server() else { return };
    // What is held stands for the whole time.
    let launch = database.app().env("DATABASE_TIMEOUT_SECONDS", "1").env("AUTHZ_MAX_STALENESS_SECONDS", "300");
    let mut app = launch.start().await;
    let john = app.user("johndoe").await;
    let jane = app.user("janedoe").await;
    app.me(&john.access).await.expect(200);
    let load = Load::of_two(&app, [&john, &jane], ALL, "stop");
    load.more(50, |_| true).await;
    let before = Instant::now();
    database.set_running(false);
    let stopped = Instant::now();
    tokio::time::sleep(Duration::from_secs(short_or_full(3, 60))).await;
    assert!(metric(&app, "portcullis_audit_lag_records").await > 0.0);
    load.more(1, |answer| answer.kind == Kind::Change && answer.asked > stopped).await;
    let starting = Instant::now();
    database.set_running(true);
    eventually("the service recovers by itself", Duration::from_secs(30), || async {
        app.get("/readyz").send().await.status == 200
    })
    .await;
    eventually("the lag drains by itself", Duration::from_secs(60), || async {
        app.me(&john.access).await.expect_one_of(&[200, 503]);
        metric(&app, "portcullis_audit_lag_seconds").await < 1.0
    })
    .await;
    let back = Instant::now();
    load.more(100, |_| true).await;
    let answers = load.end();
    for (id, answer) in &answers {
        let (kind, well) = (answer.kind, answer.kind.status());
        let is_within = answer.asked > stopped && answer.told < starting;
        let is_apart = answer.told < before || answer.asked > back;
        let expected: &[u16] = match kind {
            // No database is needed.
            Kind::BadToken | Kind::Alive | Kind::Keys => &[well],
            Kind::Held | Kind::Unknown if is_within => &[well],
            Kind::Change | Kind::Login if is_within => &[503],
            _ if is_apart => &[well],
            _ => &[well, 503],
        };
        assert!(expected.contains(&answer.status), "{id}: {answer:?}, expected {expected:?}");
    }
    assert_recorded_once(&database, &answers, "stop").await;
    assert_eq!(metric(&app, "portcullis_audit_lost_total").await, 0.0);
    eventually("nothing is behind", Duration::from_secs(20), || async {
        metric(&app, "portcullis_audit_lag_records").await == 0.0
    })
    .await;
    assert_whole(&app.launch);
    app.terminate().await;
    assert_whole(&app.launch);
}
