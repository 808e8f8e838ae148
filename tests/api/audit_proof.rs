//! The audit log proves that it is whole: whatever is done to a record is found, and named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Backend, Database, Exit, TestApp, eventually, on_both_databases};

/// How many records are tampered with; `AUDIT_PROOF_RECORDS=10000` is the long form.
fn record_count() -> usize {
    std::env::var("AUDIT_PROOF_RECORDS").ok().and_then(|count| count.parse().ok()).unwrap_or(600)
}

fn verify(database: &Database, arguments: &[&str]) -> Exit {
    database.app().command_line(&[&["audit", "verify"], arguments].concat(), "")
}

/// That the log is whole; gives what is said.
fn whole(database: &Database, arguments: &[&str]) -> String {
    let exit = verify(database, arguments);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.starts_with("The audit log is whole: "), "{exit:?}");
    exit.stdout
}

/// That it is not, and that the one line names what is wrong.
pub(crate) fn broken(database: &Database, arguments: &[&str], named: &str) -> String {
    let exit = verify(database, arguments);
    assert_eq!(exit.code, Some(1), "{named}: {exit:?}");
    let said: Vec<&str> = exit.stderr.lines().filter(|line| !line.starts_with('[')).collect();
    assert_eq!(said.len(), 1, "{exit:?}");
    assert!(said[0].contains("the audit log is NOT whole"), "{exit:?}");
    assert!(said[0].contains(named), "{named}: {exit:?}");
    said[0].to_owned()
}

/// An instance that has written so many records, and has ended.
async fn ended_after(database: &Database, count: usize) {
    let mut app = database.app().start().await;
    let john = app.user("johndoe").await;
    let lanes = (0..8).map(|lane| {
        let (app, john) = (&app, &john);
        async move {
            for n in 0..count / 8 {
                let id = format!("proof-{lane}-{n}");
                let call = app.get("/auth/me").header("x-request-id", &id);
                let call = if n % 5 == 0 { call } else { call.bearer(&john.access) };
                call.send().await;
            }
        }
    });
    futures_util::future::join_all(lanes).await;
    app.terminate().await;
}

/// The log as it was, to be put back after each change.
struct Copy<'a>(&'a Database);

impl<'a> Copy<'a> {
    async fn of(database: &'a Database) -> Self {
        for table in ["audit_logs", "audit_writers", "audit_checkpoints"] {
            database.audit_execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
        Self(database)
    }

    async fn put_back(&self) {
        for table in ["audit_logs", "audit_writers", "audit_checkpoints"] {
            self.0.audit_execute(&format!("DELETE FROM {table}")).await;
            self.0.audit_execute(&format!("INSERT INTO {table} SELECT * FROM kept_{table}")).await;
        }
    }
}

/// The id of one of the profiles that were read, in order of ids, as the database's SQL writes it and as people do.
async fn nth(database: &Database, n: usize) -> (String, String) {
    let hex = match database.backend() {
        Backend::Sqlite => "lower(hex(id))",
        Backend::Postgresql => "replace(id::text, '-', '')",
    };
    // A kind of record in which each of the edits is one.
    let query = format!(
        "SELECT {hex} FROM audit_logs WHERE response_status = 200 AND request_method = 'GET' ORDER BY id LIMIT 1 OFFSET {n}"
    );
    let hex = database.audit_scalar(&query).await.unwrap();
    let id = uuid_text(&hex);
    (database.id(&id), id)
}

pub(crate) fn uuid_text(hex: &str) -> String {
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

on_both_databases! {
    async fn a_log_that_nobody_touched_is_whole(mut app: TestApp) {
        let database = app.database().clone();
        let john = app.user("johndoe").await;
        for _ in 0..30 {
            app.me(&john.access).await.expect(200);
        }
        // Of the command line too, and beside the running service.
        let create = ["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"];
        assert_eq!(app.launch.command_line(&create, "kq7-Vw2.zR9_tb4").code, Some(0));
        whole(&database, &[]);
        let early = app.ask(app.admin().await, "GET", "/audit/checkpoint").await.expect(200);
        let file = app.launch.data_dir().join("handed-out.json");
        std::fs::write(&file, early.text()).unwrap();
        app.me(&john.access).await.expect(200);
        app.kill().await;
        let mut app = app.launch.clone().start().await;
        app.me(&john.access).await.expect(200);
        app.terminate().await;
        let said = whole(&database, &["--checkpoint", file.to_str().unwrap()]);
        assert!(said.contains("Still in the journal, and sealed: 0 records."), "{said}");
        let count: usize = database.audit_scalar("SELECT count(*) FROM audit_logs").await.unwrap().parse().unwrap();
        assert!(said.contains(&format!("{count} records of ")), "{count}: {said}");
        // A part of it.
        let said = whole(&database, &["--since", "2026-01-01", "--until", "2099-01-01T00:00:00Z"]);
        assert!(said.contains(&format!("{count} records of ")), "{count}: {said}");
        assert!(whole(&database, &["--until", "2026-01-01"]).contains(": 0 records of "));
        let exit = verify(&database, &["--since", "yesterday"]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
    }

    async fn whatever_is_done_to_the_table_is_found(database: Database) {
        ended_after(&database, record_count()).await;
        let profiles = "SELECT count(*) FROM audit_logs WHERE response_status = 200 AND request_method = 'GET'";
        let count: usize = database.audit_scalar(profiles).await.unwrap().parse().unwrap();
        let copy = Copy::of(&database).await;
        whole(&database, &[]);
        let blob = |byte: &str| match database.backend() {
            Backend::Sqlite => format!("x'{}'", byte.repeat(32)),
            Backend::Postgresql => format!("'\\x{}'::bytea", byte.repeat(32)),
        };
        let later = match database.backend() {
            Backend::Sqlite => "timestamp + 1",
            Backend::Postgresql => "timestamp + interval '1 millisecond'",
        };
        let nil = database.id("00000000-0000-0000-0000-000000000001");
        let edits = [
            "username = 'mallory'".to_owned(),
            "username = NULL".to_owned(),
            format!("user_id = {nil}"),
            "action = 'LOGIN'".to_owned(),
            "resource_type = 'x'".to_owned(),
            "resource_id = 'x'".to_owned(),
            "ip_address = '203.0.113.66'".to_owned(),
            "user_agent = 'x'".to_owned(),
            "request_method = 'DELETE'".to_owned(),
            "request_path = '/auth/Me'".to_owned(),
            "response_status = 204".to_owned(),
            "response_status = -1".to_owned(),
            "outcome = 'failure'".to_owned(),
            "duration_ms = duration_ms + 1".to_owned(),
            "duration_ms = -1".to_owned(),
            "request_id = 'x'".to_owned(),
            "metadata = '{ }'".to_owned(),
            "metadata = 'nonsense'".to_owned(),
            "source = 'event'".to_owned(),
            format!("timestamp = {later}"),
            format!("hash = {}", blob("00")),
            "hash = NULL".to_owned(),
            "seq = seq + 1000000".to_owned(),
            "seq = -seq".to_owned(),
            format!("writer_id = {nil}"),
        ];
        // Any one of them: the first, the last, and others.
        for (turn, edit) in edits.iter().enumerate() {
            let (sql, _) = nth(&database, [0, count / 2, count - 1, turn * 17 % count][turn % 4]).await;
            database.audit_execute(&format!("UPDATE audit_logs SET {edit} WHERE id = {sql}")).await;
            eprintln!("{edit}");
            broken(&database, &[], "");
            copy.put_back().await;
        }
        let (middle, middle_text) = nth(&database, count / 2).await;
        database.audit_execute(&format!("UPDATE audit_logs SET action = 'LOGIN' WHERE id = {middle}")).await;
        broken(&database, &[], &middle_text);
        copy.put_back().await;
        // Deleted: any one, also the last of a writer, and with the note of it.
        for n in [0, count / 3, count - 1] {
            let (sql, _) = nth(&database, n).await;
            database.audit_execute(&format!("DELETE FROM audit_logs WHERE id = {sql}")).await;
            broken(&database, &[], "");
            copy.put_back().await;
        }
        // All after one of them, with the note of the end set back: a signed checkpoint counted more.
        database.audit_execute(&format!("DELETE FROM audit_logs WHERE id > {middle}")).await;
        broken(&database, &[], "cut off");
        let last = |column: &str| format!(
            "(SELECT {column} FROM audit_logs l WHERE l.writer_id = audit_writers.writer_id ORDER BY l.id DESC LIMIT 1)"
        );
        let set_back = format!("UPDATE audit_writers SET last_seq = {}, last_hash = {} WHERE EXISTS {}", last("seq"), last("hash"), last("1"));
        database.audit_execute(&set_back).await;
        broken(&database, &[], "checkpoint");
        // Without those of the database, the one in the journal's folder says so.
        database.audit_execute("DELETE FROM audit_checkpoints").await;
        broken(&database, &[], "checkpoint");
        copy.put_back().await;
        // Put in: a copy under another id.
        let columns = "writer_id, seq, hash, timestamp, user_id, username, action, resource_type, resource_id, \
            ip_address, user_agent, request_method, request_path, response_status, outcome, duration_ms, request_id, \
            metadata, source";
        // Later in the same millisecond.
        let free = u128::from_str_radix(&middle_text.replace('-', ""), 16).unwrap() + (1 << 40);
        let between = uuid_text(&format!("{free:032x}"));
        let put_in = format!(
            "INSERT INTO audit_logs (id, {columns}) SELECT {}, {columns} FROM audit_logs WHERE id = {middle}",
            database.id(&between)
        );
        database.audit_execute(&put_in).await;
        broken(&database, &[], &between);
        copy.put_back().await;
        // Under a number that its writer has not come to.
        let ahead = put_in.replacen(
            &format!("{}, {columns} FROM", database.id(&between)),
            &format!("{}, {} FROM", database.id(&between), columns.replacen("seq", "1000000000000", 1)),
            1,
        );
        assert_ne!(ahead, put_in);
        database.audit_execute(&ahead).await;
        broken(&database, &[], &between);
        copy.put_back().await;
        // Bytes in the place of text, which no question finds.
        if database.backend() == Backend::Sqlite {
            database.audit_execute(&format!("UPDATE audit_logs SET action = CAST(action AS BLOB) WHERE id = {middle}")).await;
            broken(&database, &[], "bytes");
            copy.put_back().await;
        }
        // Swapped: two records change their places.
        let (other, _) = nth(&database, count / 2 + 5).await;
        for (from, to) in [(&middle, &nil), (&other, &middle), (&nil, &other)] {
            database.audit_execute(&format!("UPDATE audit_logs SET id = {to} WHERE id = {from}")).await;
        }
        broken(&database, &[], "");
        copy.put_back().await;
        // Truncated.
        database.audit_execute("DELETE FROM audit_logs").await;
        broken(&database, &[], "cut off");
        database.audit_execute("DELETE FROM audit_writers").await;
        database.audit_execute("DELETE FROM audit_checkpoints").await;
        broken(&database, &[], "checkpoint");
        copy.put_back().await;
        whole(&database, &[]);
        // The key is gone, and with it the whole log: another one does not take its place.
        database.execute("DELETE FROM settings WHERE name = 'audit_key'").await;
        broken(&database, &[], "audit key");
        for table in ["audit_logs", "audit_writers", "audit_checkpoints"] {
            database.audit_execute(&format!("DELETE FROM {table}")).await;
        }
        let exit = database.app().command_line(&["serve"], "");
        assert_eq!(exit.code, Some(78), "{exit:?}");
        assert!(exit.stderr.contains("audit key"), "{exit:?}");
    }

    async fn what_was_signed_is_not_taken_back_by_a_running_service(app: TestApp) {
        let database = app.database().clone();
        let create = ["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"];
        assert_eq!(app.launch.command_line(&create, "kq7-Vw2.zR9_tb4").code, Some(0));
        let signed = || async { database.audit_scalar("SELECT count(*) FROM audit_checkpoints").await };
        app.me("nonsense").await.expect(401);
        eventually("it is signed", Duration::from_secs(15), || async { signed().await.as_deref() != Some("0") }).await;
        // All of the command, as if it had never been.
        database
            .audit_execute("DELETE FROM audit_writers WHERE writer_id IN (SELECT writer_id FROM audit_logs WHERE source = 'cli')")
            .await;
        database.audit_execute("DELETE FROM audit_logs WHERE source = 'cli'").await;
        database.audit_execute("DELETE FROM audit_checkpoints").await;
        app.me("nonsense").await.expect(401);
        eventually("it signs again", Duration::from_secs(15), || async { signed().await.as_deref() != Some("0") }).await;
        broken(&database, &[], "checkpoint");
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_segment = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "ndjson") && !path.ends_with("set-aside.ndjson")
    };
    files.filter(is_segment).collect()
}

#[tokio::test]
async fn whatever_is_done_to_the_journal_is_found() {
    let _slot = crate::support::slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let mut app = database.app().env("DATABASE_TIMEOUT_SECONDS", "1").start().await;
    let john = app.user("johndoe").await;
    let folder = app.launch.data_dir().join("audit");
    // While the database is away, records stay in the journal.
    database.set_away(true).await;
    for n in 0..40 {
        app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("journal-{n}")).send().await;
    }
    let counted = |folder: &Path| -> u64 {
        let text = std::fs::read_to_string(folder.join("checkpoint.json")).unwrap_or_default();
        let checkpoint: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let writers = checkpoint["writers"].as_array().cloned().unwrap_or_default();
        writers.iter().map(|head| head["written"].as_u64().unwrap() - head["seq"].as_u64().unwrap()).sum()
    };
    eventually("a checkpoint counts what is in the journal", Duration::from_secs(30), || async {
        counted(&folder) >= 40
    })
    .await;
    app.kill().await;
    database.set_away(false).await;
    let said = whole(&database, &[]);
    assert!(!said.contains("Still in the journal, and sealed: 0 records."), "{said}");
    let (path, text) = segments(&folder)
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .max_by_key(|(_, text)| text.lines().filter(|line| line.contains("journal-")).count())
        .unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 8, "{text}");
    let at = lines.len() - 4;
    let mut changes: Vec<(&str, Vec<String>)> = Vec::new();
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let mut edited = owned(&lines);
    edited[at] = edited[at].replace("/auth/me", "/auth/Me");
    changes.push(("edited", edited));
    let mut renumbered = owned(&lines);
    renumbered[at] = renumbered[at].replacen("\"seq\":", "\"seq\":9", 1);
    changes.push(("renumbered", renumbered));
    let mut deleted = owned(&lines);
    deleted.remove(at);
    changes.push(("deleted", deleted));
    let mut swapped = owned(&lines);
    swapped.swap(at, at + 1);
    changes.push(("swapped", swapped));
    let mut put_in = owned(&lines);
    put_in.insert(at, lines[at - 1].to_owned());
    changes.push(("put in", put_in));
    changes.push(("cut off", owned(&lines[..at])));
    for (what, changed) in changes {
        std::fs::write(&path, changed.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let exit = verify(&database, &[]);
        assert_eq!(exit.code, Some(1), "{what}: {exit:?}");
        std::fs::write(&path, &text).unwrap();
    }
    whole(&database, &[]);
    // What was changed before it came to the table is set aside, and the log says so under its seal.
    std::fs::write(&path, text.replacen("\"request_path\":\"/auth/me\"", "\"request_path\":\"/auth/Me\"", 1)).unwrap();
    let mut app = app.launch.clone().start().await;
    eventually("the rest is in the log", Duration::from_secs(20), || async {
        app.audit("limit=1000").await.iter().any(|record| record["action"] == "SET_ASIDE")
    })
    .await;
    app.terminate().await;
    let said = whole(&database, &[]);
    assert!(said.contains("Set aside: 1 from number "), "{said}");
    assert!(std::fs::read_to_string(folder.join("set-aside.ndjson")).unwrap().contains("/auth/Me"));
}
