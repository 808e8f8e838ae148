//! Records that are too old go, in the background: nobody waits for it, and what is left proves that it is whole.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::NoTls;

use crate::audit_proof::{broken, uuid_text};
use crate::sealed_log::{SealedLog, Writer};
use crate::support::{Backend, Database, Launch, TestApp, eventually, on_both_databases, run};

/// A run begins two seconds after the start.
const SOON: Duration = Duration::from_secs(60);

const DAY: u64 = 24 * 60 * 60;

/// A writer that no log knows.
const STRANGER: &str = "01890000-0000-7000-8000-000000000000";

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

/// Makes those records look that old, as who has no key can.
async fn age(database: &Database, which: &str, days: u64) {
    let digits = match database.backend() {
        Backend::Sqlite => "substr(hex(id), 13)",
        Backend::Postgresql => "right(replace(id::text, '-', ''), 20)",
    };
    let id = id_of(database, days, digits);
    database.audit_execute(&format!("UPDATE audit_logs SET id = {id} WHERE {which}")).await;
}

/// Puts so many records of that age and with that action in, as of a writer and after a number, as who has no key can.
async fn put_in(database: &Database, action: &str, count: u64, days: u64, writer: &str, after: u64) {
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
    let (id, writer) = (id_of(database, days, digits), database.id(writer));
    let time = match database.backend() {
        Backend::Sqlite => "1000000000000 + n",
        Backend::Postgresql => "now()",
    };
    database
        .audit_execute(&format!(
            "INSERT INTO audit_logs (id, writer_id, seq, timestamp, action, request_path, outcome, duration_ms, source) \
             SELECT {id}, {writer}, {after} + n, {time}, '{action}', '/old', 'success', 0, 'request' FROM {numbers}"
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

async fn count_of(database: &Database, action: &str) -> u64 {
    number(database, &format!("SELECT count(*) FROM audit_logs WHERE action = '{action}'")).await
}

/// The first id of records of that action.
async fn first_of(database: &Database, action: &str) -> String {
    let hex = match database.backend() {
        Backend::Sqlite => "lower(hex(id))",
        Backend::Postgresql => "replace(id::text, '-', '')",
    };
    let query = format!("SELECT {hex} FROM audit_logs WHERE action = '{action}' ORDER BY id LIMIT 1");
    uuid_text(&database.audit_scalar(&query).await.unwrap())
}

async fn has_metric(app: &TestApp, line: &str) {
    let line = format!("portcullis_audit_{line}\n");
    eventually(&line, SOON, || async { app.get("/metrics").send().await.text().contains(&line) }).await;
}

/// That a service removes nothing, and says why, and that `verify` finds it too.
async fn refuses(launch: &Launch, why: &str) {
    let mut app = launch.clone().start().await;
    has_metric(&app, "retention_refused 1").await;
    let not_removed = "old audit records are not removed";
    eventually("a line of the log", SOON, || async { app.log().contains(not_removed) }).await;
    let log = app.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains(not_removed)).collect();
    assert!(said.len() == 1 && said[0].contains(" ERROR ") && said[0].contains(why), "{why}: {said:?}");
    assert!(checkpoints(app.database()).await.is_empty());
    app.terminate().await;
    broken(&launch.database, &[], why);
}

/// That a service removes all records of that action, and nothing else is amiss.
async fn removes(launch: &Launch, action: &str) {
    let mut app = launch.clone().start().await;
    gone(&launch.database, &format!("action = '{action}'")).await;
    has_metric(&app, "retention_refused 0").await;
    app.terminate().await;
    verified(launch);
}

fn verified(launch: &Launch) -> String {
    let exit = launch.command_line(&["audit", "verify"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
}

on_both_databases! {
    async fn what_is_too_old_goes_and_the_rest_proves_that_it_is_whole(database: Database) {
        let launch = keeping(database.app(), 30);
        let mut log = SealedLog::open(&launch).await;
        let [mut one, mut two, mut three] = [Writer::new(), Writer::new(), Writer::new()];
        log.write(&mut one, "OLD", 5, 50).await;
        log.write(&mut two, "OLD", 5, 50).await;
        log.write(&mut one, "LATER", 3, 20).await;
        log.write(&mut three, "LATER", 4, 20).await;
        log.write(&mut two, "YOUNG", 2, 1).await;
        let heads = |stated: &Value| -> Vec<(String, u64)> {
            let head = |head: &Value| (head["writer_id"].as_str().unwrap().to_owned(), head["seq"].as_u64().unwrap());
            stated["writers"].as_array().unwrap().iter().map(head).collect()
        };
        let ends = |ends: &[(&Writer, u64)]| -> Vec<(String, u64)> {
            let mut ends: Vec<_> = ends.iter().map(|(writer, seq)| (writer.id.to_string(), *seq)).collect();
            ends.sort();
            ends
        };
        let mut app = launch.clone().start().await;
        gone(&database, "action = 'OLD'").await;
        has_metric(&app, "removed_total 10").await;
        app.has_logged("10 audit records from before ").await;
        assert_eq!(app.audit("limit=1000&action=LATER").await.len(), 7);
        let stated = checkpoints(&database).await;
        assert_eq!(stated.len(), 1, "{stated:?}");
        let removed_before = &stated[0]["removed_before"];
        assert!(removed_before.as_str().unwrap().ends_with("-0000-0000-000000000000"), "{removed_before}");
        assert_eq!(heads(&stated[0]), ends(&[(&one, 5), (&two, 5)]));
        app.terminate().await;
        let said = verified(&launch);
        assert!(said.contains("Removed by retention"), "{said}");
        // Some that come late go with what has become too old; the head of who has none stays stated.
        let mut late = Writer::new();
        log.write(&mut late, "LATE", 2, 40).await;
        let launch = keeping(database.app(), 7);
        removes(&launch, "LATER").await;
        assert_eq!((count_of(&database, "LATE").await, count_of(&database, "YOUNG").await), (0, 2));
        let again = checkpoints(&database).await;
        assert_eq!(again.len(), 2, "{again:?}");
        assert_eq!(heads(&again[1]), ends(&[(&one, 8), (&two, 5), (&three, 4), (&late, 2)]));
        // A stub that somebody has changed: nothing goes any more.
        let forged = "UPDATE audit_checkpoints SET body = replace(body, '\"written\":', '\"written\":1') WHERE kind = 'retention'";
        database.audit_execute(forged).await;
        log.write(&mut one, "LATEST", 2, 15).await;
        let app = launch.start().await;
        eventually("a warning", SOON, || async { app.log().contains("is not as it was signed") }).await;
        assert_eq!(count_of(&database, "LATEST").await, 2);
    }

    async fn sign_in_and_writing_go_on_while_old_records_go(database: Database) {
        let launch = keeping(database.app(), 7);
        let (mut log, mut writer) = (SealedLog::open(&launch).await, Writer::new());
        log.write(&mut writer, "OLD", 30_000, 30).await;
        log.write(&mut writer, "YOUNG", 1000, 6).await;
        let app = launch.start().await;
        app.register("johndoe").await;
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
        assert_eq!(count_of(&database, "YOUNG").await, 1000);
    }

    async fn young_records_that_are_made_to_look_old_are_not_signed_away(database: Database) {
        let launch = keeping(database.app(), 7);
        let (mut log, mut one, mut two) = (SealedLog::open(&launch).await, Writer::new(), Writer::new());
        log.write(&mut one, "OLD", 5, 30).await;
        log.write(&mut two, "YOUNG", 20, 1).await;
        database.audit_execute("CREATE TABLE kept AS SELECT * FROM audit_logs WHERE action = 'YOUNG'").await;
        age(&database, "action = 'YOUNG' AND seq <= 15", 40).await;
        refuses(&launch, &first_of(&database, "YOUNG").await).await;
        assert_eq!((count_of(&database, "OLD").await, count_of(&database, "YOUNG").await), (5, 20));
        // As it was: it goes on.
        database.audit_execute("DELETE FROM audit_logs WHERE action = 'YOUNG'").await;
        database.audit_execute("INSERT INTO audit_logs SELECT * FROM kept").await;
        removes(&launch, "OLD").await;
        assert_eq!(count_of(&database, "YOUNG").await, 20);
    }

    async fn old_records_that_were_put_in_or_changed_stop_the_removal(database: Database) {
        let launch = keeping(database.app(), 7);
        let (mut log, mut writer) = (SealedLog::open(&launch).await, Writer::new());
        log.write(&mut writer, "OLD", 5, 30).await;
        let known = writer.id.to_string();
        put_in(&database, "PUT_IN", 3, 40, STRANGER, 0).await;
        refuses(&launch, &format!("the log has no writer {STRANGER}")).await;
        for (after, why) in [(0, "has no hash"), (2, "were removed"), (100, "is not its own")] {
            database.audit_execute("DELETE FROM audit_logs WHERE action = 'PUT_IN'").await;
            put_in(&database, "PUT_IN", 3, 40, &known, after).await;
            refuses(&launch, why).await;
        }
        database.audit_execute("DELETE FROM audit_logs WHERE action = 'PUT_IN'").await;
        if database.backend() == Backend::Sqlite {
            database.audit_execute("UPDATE audit_logs SET action = CAST(action AS BLOB) WHERE action = 'OLD' AND seq = 3").await;
            refuses(&launch, "bytes where text belongs").await;
            database.audit_execute("UPDATE audit_logs SET action = CAST(action AS TEXT)").await;
        }
        assert_eq!(count_of(&database, "OLD").await, 5);
        removes(&launch, "OLD").await;
    }

    async fn a_log_that_can_not_be_mended_is_begun_anew(database: Database) {
        let launch = keeping(database.app(), 7);
        let (mut log, mut writer) = (SealedLog::open(&launch).await, Writer::new());
        log.write(&mut writer, "OLD", 5, 30).await;
        database.audit_execute("UPDATE audit_logs SET hash = NULL").await;
        refuses(&launch, "has no hash").await;
        for table in ["audit_logs", "audit_writers", "audit_checkpoints"] {
            database.audit_execute(&format!("DELETE FROM {table}")).await;
        }
        std::fs::rename(launch.data_dir().join("audit"), launch.data_dir().join("audit-before")).unwrap();
        let mut app = launch.clone().start().await;
        app.register("johndoe").await;
        app.terminate().await;
        verified(&launch);
        log = SealedLog::open(&launch).await;
        log.write(&mut Writer::new(), "OLD", 5, 30).await;
        removes(&launch, "OLD").await;
    }

    async fn without_a_setting_records_are_kept_for_ever(database: Database) {
        SealedLog::open(&database.app()).await.write(&mut Writer::new(), "OLD", 10, 4000).await;
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
        let mut log = SealedLog::open(&database.app()).await;
        make_week(&database, -5).await;
        log.write(&mut Writer::new(), "OLD", 1000, 35).await;
        let (reader, connection) = tokio_postgres::connect(database.url().unwrap(), NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        reader.batch_execute("BEGIN").await.unwrap();
        let count = |row: tokio_postgres::Row| row.get::<_, i64>(0);
        let old = "SELECT count(*) FROM audit_logs WHERE action = 'OLD'";
        assert_eq!(count(reader.query_one(old, &[]).await.unwrap()), 1000);
        let app = keeping(database.app(), 7).start().await;
        app.register("johndoe").await;
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
async fn what_came_late_into_a_detached_partition_goes_back_and_is_looked_at() {
    async fn case(database: Database) {
        let launch = keeping(database.app(), 7);
        let mut log = SealedLog::open(&launch).await;
        make_week(&database, -5).await;
        let mut writer = Writer::new();
        log.write(&mut writer, "OLD", 10, 35).await;
        put_in(&database, "PUT_IN", 1, 35, STRANGER, 0).await;
        // As a run leaves it that ends before it has dropped it.
        let name = database.audit_scalar(&format!("SELECT {}", week(-5).0)).await.unwrap();
        let detach =
            format!("ALTER TABLE audit_logs DETACH PARTITION {name}; ALTER TABLE {name} RENAME TO {name}_removed");
        database.audit_execute(&detach).await;
        refuses(&launch, &format!("the log has no writer {STRANGER}")).await;
        assert_eq!(count_of(&database, "OLD").await, 10);
        database.audit_execute("DELETE FROM audit_logs WHERE action = 'PUT_IN'").await;
        removes(&launch, "OLD").await;
        assert_eq!(checkpoints(&database).await[0]["writers"][0]["seq"], 10);
    }
    run(Backend::Postgresql, case).await;
}

#[tokio::test]
async fn a_log_from_before_partitions_becomes_one_and_shrinks() {
    async fn case(database: Database) {
        SealedLog::open(&database.app()).await.write(&mut Writer::new(), "OLD", 2000, 30).await;
        let mut app = database.app().start().await;
        app.register("johndoe").await;
        app.terminate().await;
        let count = number(&database, "SELECT count(*) FROM audit_logs").await;
        database.execute(include_str!("../../migrations/postgresql/2026-11-26-000000_audit_partitions/down.sql")).await;
        database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261126000000'").await;
        assert_eq!(number(&database, "SELECT count(*) FROM audit_logs").await, count);
        let app = keeping(database.app(), 7).start().await;
        assert!(!has_week(&database, 0).await && has_week(&database, 1).await && has_week(&database, 4).await);
        gone(&database, "action = 'OLD'").await;
        let in_legacy = number(&database, "SELECT count(*) FROM audit_logs_legacy").await;
        assert!(in_legacy >= count - 2000, "{in_legacy} of {count}");
        assert_eq!(app.audit("action=REGISTER").await.len(), 1);
    }
    run(Backend::Postgresql, case).await;
}
