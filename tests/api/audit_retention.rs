//! Records that are too old go, in the background: nobody waits for it, and what is left proves that it is whole.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::NoTls;

use crate::support::{Backend, Database, Launch, eventually, on_both_databases, run};

/// A run begins two seconds after the start.
const SOON: Duration = Duration::from_secs(60);

const DAY: u64 = 24 * 60 * 60;

fn keeping(launch: Launch, days: u32) -> Launch {
    launch.env("AUDIT_RETENTION_DAYS", &days.to_string())
}

async fn number(database: &Database, query: &str) -> u64 {
    database.audit_scalar(query).await.unwrap().parse().unwrap()
}

/// SQL for an id of so many days ago, which ends with these 20 hexadecimal digits.
fn id_of(database: &Database, days: u64, digits: &str) -> String {
    let seconds = days * DAY;
    match database.backend() {
        Backend::Sqlite => format!("unhex(printf('%012x', (unixepoch() - {seconds}) * 1000) || {digits})"),
        Backend::Postgresql => format!(
            "(lpad(to_hex(floor(extract(epoch FROM now()) - {seconds})::bigint * 1000), 12, '0') || {digits})::uuid"
        ),
    }
}

/// Makes those records that old; gives how many they are.
async fn age(database: &Database, which: &str, days: u64) -> u64 {
    let count = number(database, &format!("SELECT count(*) FROM audit_logs WHERE {which}")).await;
    let digits = match database.backend() {
        Backend::Sqlite => "substr(hex(id), 13)",
        Backend::Postgresql => "right(replace(id::text, '-', ''), 20)",
    };
    let id = id_of(database, days, digits);
    database.audit_execute(&format!("UPDATE audit_logs SET id = {id} WHERE {which}")).await;
    count
}

/// Puts so many records of that age and with that action in, as of a writer of their own.
async fn put_in(database: &Database, action: &str, count: u64, days: u64) {
    let (digits, numbers) = match database.backend() {
        Backend::Sqlite => (
            "printf('7%019x', n)",
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
                 SELECT n FROM numbers)"
            ),
        ),
        Backend::Postgresql => {
            ("'7' || lpad(to_hex(n), 19, '0')", format!("generate_series(1, {count}) AS numbers (n)"))
        }
    };
    let (id, writer) = (id_of(database, days, digits), database.id("01890000-0000-7000-8000-000000000000"));
    let time = match database.backend() {
        Backend::Sqlite => "1000000000000 + n",
        Backend::Postgresql => "now()",
    };
    database
        .audit_execute(&format!(
            "INSERT INTO audit_logs (id, writer_id, seq, timestamp, action, request_path, outcome, duration_ms, source) \
             SELECT {id}, {writer}, n, {time}, '{action}', '/old', 'success', 0, 'request' FROM {numbers}"
        ))
        .await;
}

async fn checkpoints(database: &Database) -> Vec<Value> {
    let join = match database.backend() {
        Backend::Sqlite => "'[' || group_concat(body) || ']'",
        Backend::Postgresql => "'[' || string_agg(body, ',' ORDER BY id) || ']'",
    };
    let query = format!(
        "SELECT coalesce({join}, '[]') FROM (SELECT id, body FROM audit_checkpoints WHERE kind = 'retention' ORDER BY id) t"
    );
    serde_json::from_str(&database.audit_scalar(&query).await.unwrap()).unwrap()
}

/// Waits until the log has none of those records.
async fn gone(database: &Database, which: &str) {
    let query = format!("SELECT count(*) FROM audit_logs WHERE {which}");
    eventually(which, SOON, || async { number(database, &query).await == 0 }).await;
}

fn verified(launch: &Launch) -> String {
    let exit = launch.command_line(&["audit", "verify"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
}

on_both_databases! {
    async fn what_is_too_old_goes_and_the_rest_proves_that_it_is_whole(database: Database) {
        let mut app = database.app().start().await;
        let john = app.user("johndoe").await;
        // Over several connections, and so by several writers.
        let lanes = (0..8).map(|_| async {
            for _ in 0..8 {
                app.me(&john.access).await.expect(200);
            }
        });
        futures_util::future::join_all(lanes).await;
        app.terminate().await;
        let count = number(&database, "SELECT count(*) FROM audit_logs").await;
        let old = age(&database, "seq <= 5", 20).await;
        assert!(old >= 5 && count > old, "{old} of {count}");
        let launch = keeping(database.app(), 7);
        let mut app = launch.clone().start().await;
        gone(&database, "seq <= 5").await;
        let metric = format!("portcullis_audit_removed_total {old}\n");
        eventually("the metric", SOON, || async { app.get("/metrics").send().await.text().contains(&metric) }).await;
        eventually("a line of the log", SOON, || async {
            app.log().contains(&format!("{old} audit records from before "))
        })
        .await;
        let all = app.audit("limit=1000").await.len() as u64;
        assert!(all >= count - old, "{all} of {count}, {old} old ones");
        let stated = checkpoints(&database).await;
        assert_eq!(stated.len(), 1, "{stated:?}");
        let removed_before = &stated[0]["removed_before"];
        assert!(removed_before.as_str().unwrap().ends_with("-0000-0000-000000000000"), "{removed_before}");
        assert!(stated[0]["writers"].as_array().unwrap().iter().all(|head| head["seq"] == 5), "{stated:?}");
        let said = verified(&launch);
        assert!(said.contains("Removed by retention"), "{said}");
        app.terminate().await;
        // Of one writer only: the others' heads stay stated.
        let writer = "writer_id = (SELECT writer_id FROM audit_logs ORDER BY seq DESC, id LIMIT 1)";
        let more = age(&database, &format!("seq BETWEEN 6 AND 8 AND {writer}"), 15).await;
        let mut app = launch.clone().start().await;
        gone(&database, &format!("seq BETWEEN 6 AND 8 AND {writer}")).await;
        let again = checkpoints(&database).await;
        assert_eq!((more, again.len()), (3, 2), "{again:?}");
        let heads = |stated: &Value| stated["writers"].as_array().unwrap().len();
        assert_eq!(heads(&again[0]), heads(&again[1]));
        app.terminate().await;
        verified(&launch);
        // A stub that somebody has changed: nothing goes any more.
        let forged = "UPDATE audit_checkpoints SET body = replace(body, '\"written\":', '\"written\":1') WHERE kind = 'retention'";
        database.audit_execute(forged).await;
        age(&database, "seq <= 10", 15).await;
        let app = launch.start().await;
        eventually("a warning", SOON, || async { app.log().contains("is not as it was signed") }).await;
        assert_ne!(number(&database, "SELECT count(*) FROM audit_logs WHERE seq <= 10").await, 0);
    }

    async fn sign_in_and_writing_go_on_while_old_records_go(database: Database) {
        let mut app = database.app().start().await;
        app.register("johndoe").await;
        app.terminate().await;
        put_in(&database, "OLD", 30_000, 30).await;
        put_in(&database, "YOUNG", 1000, 6).await;
        let app = keeping(database.app(), 7).start().await;
        let old = "SELECT count(*) FROM audit_logs WHERE action = 'OLD'";
        eventually("the first are gone", SOON, || async { number(&database, old).await < 30_000 }).await;
        let (mut slowest, mut rounds) = (Duration::ZERO, 0);
        while rounds < 3 || number(&database, old).await > 0 {
            let began = Instant::now();
            let john = app.login("johndoe", "securepassword123").await;
            let me = app.me(&john.access).await.expect(200);
            // The question waits until what was answered before it is in the database.
            app.record_of(&me).await;
            slowest = slowest.max(began.elapsed());
            rounds += 1;
            assert!(rounds < 1000, "{} are left", number(&database, old).await);
        }
        assert!(slowest < Duration::from_secs(4), "{slowest:?}");
        assert_eq!(number(&database, "SELECT count(*) FROM audit_logs WHERE action = 'YOUNG'").await, 1000);
    }

    async fn without_a_setting_records_are_kept_for_ever(database: Database) {
        let mut app = database.app().start().await;
        app.get("/auth/me").send().await.expect(401);
        app.terminate().await;
        put_in(&database, "OLD", 10, 4000).await;
        let app = database.app().start().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(app.audit("limit=1000&action=OLD").await.len(), 10);
        assert!(checkpoints(&database).await.is_empty());
    }
}

/// The name of the partition that begins so many weeks after this one, and its bounds, by PostgreSQL's own clock.
fn week(weeks: i64) -> (String, String) {
    let monday = |weeks: i64| format!("(date_trunc('week', now() AT TIME ZONE 'UTC') + {weeks} * interval '7 days')");
    let bound = |weeks| {
        let monday = monday(weeks);
        format!("lpad(to_hex((extract(epoch FROM {monday}) * 1000)::bigint), 12, '0') || repeat('0', 20)")
    };
    let name = format!("'audit_logs_' || to_char({}, 'YYYYMMDD')", monday(weeks));
    (name, format!("format('FROM (%L) TO (%L)', ({})::uuid, ({})::uuid)", bound(weeks), bound(weeks + 1)))
}

async fn has_week(database: &Database, weeks: i64) -> bool {
    let (name, bounds) = week(weeks);
    let query = format!(
        "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'audit_logs'::regclass AND c.relname = {name} \
         AND pg_get_expr(c.relpartbound, c.oid) = 'FOR VALUES ' || {bounds}"
    );
    number(database, &query).await == 1
}

async fn make_week(database: &Database, weeks: i64) {
    let (name, bounds) = week(weeks);
    let make = format!(
        "DO $$ BEGIN EXECUTE 'CREATE TABLE ' || {name} || ' PARTITION OF audit_logs FOR VALUES ' || {bounds}; END $$"
    );
    database.audit_execute(&make).await;
}

#[tokio::test]
async fn partitions_are_there_before_they_are_needed() {
    async fn case(database: Database) {
        let mut app = keeping(database.app(), 7).start().await;
        for weeks in 0..=4 {
            assert!(has_week(&database, weeks).await, "{weeks}");
        }
        app.terminate().await;
        // As after weeks without the service; a host whose clock is ahead has written meanwhile.
        for weeks in 0..=4 {
            let name = database.audit_scalar(&format!("SELECT {}", week(weeks).0)).await.unwrap();
            database.audit_execute(&format!("DROP TABLE {name}")).await;
        }
        let two_weeks_ahead = "(lpad(to_hex(floor(extract(epoch FROM now()) + 1209600)::bigint * 1000), 12, '0') \
                               || '70008000000000000000')::uuid";
        database
            .audit_execute(&format!(
                "INSERT INTO audit_logs (id, writer_id, seq, timestamp, action, outcome, duration_ms, source) VALUES \
                 ({two_weeks_ahead}, '01890000-0000-7000-8000-000000000000', 1, now(), 'WILD', 'success', 0, 'event')"
            ))
            .await;
        let app = keeping(database.app(), 7).start().await;
        for weeks in 0..=4 {
            assert_eq!(has_week(&database, weeks).await, weeks != 2, "{weeks}");
        }
        let john = app.user("johndoe").await;
        app.record_of(&app.me(&john.access).await).await;
        let strays = "SELECT count(*) FROM audit_logs_default WHERE action <> 'WILD'";
        assert_eq!(number(&database, strays).await, 0);
    }
    run(Backend::Postgresql, case).await;
}

#[tokio::test]
async fn who_reads_for_long_is_waited_for_and_nobody_waits_behind_us() {
    async fn case(database: Database) {
        let mut app = database.app().start().await;
        app.register("johndoe").await;
        app.terminate().await;
        make_week(&database, -5).await;
        put_in(&database, "OLD", 1000, 35).await;
        let (reader, connection) = tokio_postgres::connect(database.url().unwrap(), NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        reader.batch_execute("BEGIN").await.unwrap();
        let count = |row: tokio_postgres::Row| row.get::<_, i64>(0);
        let old = "SELECT count(*) FROM audit_logs WHERE action = 'OLD'";
        assert_eq!(count(reader.query_one(old, &[]).await.unwrap()), 1000);
        let app = keeping(database.app(), 7).start().await;
        eventually("the removal is stated", SOON, || async { !checkpoints(&database).await.is_empty() }).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            let asked = Instant::now();
            let john = app.login("johndoe", "securepassword123").await;
            app.record_of(&app.me(&john.access).await).await;
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        }
        assert_eq!(count(reader.query_one(old, &[]).await.unwrap()), 1000);
        assert!(has_week(&database, -5).await);
        reader.batch_execute("COMMIT").await.unwrap();
        let left = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '_removed$'";
        eventually("it is gone", SOON, || async {
            !has_week(&database, -5).await && number(&database, left).await == 0
        })
        .await;
        assert_eq!(number(&database, old).await, 0);
        assert_eq!(checkpoints(&database).await.len(), 1);
        drop(reader);
        driver.await.unwrap().unwrap();
    }
    run(Backend::Postgresql, case).await;
}

#[tokio::test]
async fn a_log_from_before_partitions_becomes_one_and_shrinks() {
    async fn case(database: Database) {
        let mut app = database.app().start().await;
        app.register("johndoe").await;
        app.terminate().await;
        let count = number(&database, "SELECT count(*) FROM audit_logs").await;
        database.execute(include_str!("../../migrations/postgresql/2026-11-26-000000_audit_partitions/down.sql")).await;
        database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261126000000'").await;
        assert_eq!(number(&database, "SELECT count(*) FROM audit_logs").await, count);
        put_in(&database, "OLD", 2000, 30).await;
        let app = keeping(database.app(), 7).start().await;
        assert!(!has_week(&database, 0).await && has_week(&database, 1).await && has_week(&database, 4).await);
        gone(&database, "action = 'OLD'").await;
        let in_legacy = number(&database, "SELECT count(*) FROM audit_logs_legacy").await;
        assert!(in_legacy >= count, "{in_legacy} of {count}");
        assert_eq!(app.audit("action=REGISTER").await.len(), 1);
    }
    run(Backend::Postgresql, case).await;
}
