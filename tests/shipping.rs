//! The configuration of `examples/shipper`, from outside: the real rsyslog with the file that is shipped, of which only
//! the folders and the collector's port are replaced, beside the running service.
//!
//! Where rsyslog is not installed this passes loudly, unless `TEST_SHIPPER=required`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "other suites use the rest")]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use support::{Account, Database, TestApp, eventually, not_tested, program, slot};

/// The other end: keeps the lines that come.
struct Collector {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, lines) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        kept.lock().unwrap().push(line);
                    }
                });
            }
        });
        Self { port, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// A running rsyslog; its folder is the test's.
struct Shipper {
    child: Child,
    home: PathBuf,
}

impl Shipper {
    fn start(program: &Path, home: &Path, journal: &Path, collector: u16) -> Self {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shipper/rsyslog.conf");
        let mut text = std::fs::read_to_string(shipped).unwrap();
        let (journal, spool) = (journal.display().to_string(), home.display().to_string());
        for (shipped, used) in [
            ("/var/lib/portcullis/audit", journal.as_str()),
            ("/var/spool/rsyslog", &spool),
            ("port=\"6514\"", &format!("port=\"{collector}\"")),
        ] {
            assert!(text.contains(shipped), "the file has no {shipped}");
            text = text.replace(shipped, used);
        }
        let config = home.join("rsyslog.conf");
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg("-n").arg("-f").arg(config).arg("-i").arg(home.join("pid")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("rsyslog starts");
        Self { child, home: home.to_owned() }
    }

    async fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let child = Mutex::new(&mut self.child);
        eventually("rsyslog ends", Duration::from_secs(20), || async {
            child.lock().unwrap().try_wait().unwrap().is_some()
        })
        .await;
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
            eprintln!("--- what rsyslog wrote ---\n{log}---");
        }
    }
}

/// How often each line stands in the journal's segments.
fn journaled(folder: &Path) -> BTreeMap<String, usize> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|ending| ending == "ndjson"));
    count(segments.flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    }))
}

fn count(lines: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

/// Records with long lines, which soon fill a segment, and short ones.
async fn record(app: &TestApp, john: &Account, count: usize, name: &str) {
    let long = json!({"action": "IMPORTED", "metadata": {"text": format!("\"é\\{}", "x".repeat(7000))}});
    for n in 0..count {
        let call = app.post("/audit/events").bearer(&john.access).header("x-request-id", &format!("{name}-long-{n}"));
        call.json(&long).send().await.expect(201);
        let call = app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("{name}-short-{n}"));
        call.send().await.expect(200);
    }
}

#[tokio::test]
async fn every_record_is_shipped_once_over_restarts_and_segments() {
    let _slot = slot().await;
    let Some(program) = program("rsyslogd") else {
        return not_tested("the log shipper: rsyslog is not installed", "TEST_SHIPPER");
    };
    let home: TempDir = tempfile::Builder::new().prefix("portcullis-shipper").tempdir().unwrap();
    // Segments of less than 1 MB, all of which stay.
    let launch = Database::sqlite().app().env("WORKERS", "1").env("AUDIT_JOURNAL_KEEP", "100");
    let mut app = launch.env("AUDIT_JOURNAL_MAX_BYTES", "1800000").start().await;
    let journal = app.launch.data_dir().join("audit");
    let collector = Collector::start();
    let john = app.user("johndoe").await;
    let ship = || Shipper::start(&program, home.path(), &journal, collector.port);
    let shipper = ship();
    record(&app, &john, 60, "first").await;
    shipper.terminate().await;
    record(&app, &john, 30, "unseen").await;
    let shipper = ship();
    record(&app, &john, 60, "second").await;
    // A writer of its own, and another run of the first ones.
    let create = ["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"];
    assert_eq!(app.launch.command_line(&create, "kq7-Vw2.zR9_tb4").code, Some(0));
    eventually("the command's record is in the table", Duration::from_secs(10), || async {
        !app.audit("action=CREATE_USER").await.is_empty()
    })
    .await;
    app.terminate().await;
    assert!(!app.log().contains("another process writes"), "{}", app.log());
    app = app.launch.clone().start().await;
    record(&app, &john, 20, "third").await;
    app.terminate().await;
    let segments = std::fs::read_dir(&journal).unwrap().filter_map(Result::ok);
    let segments = segments.filter(|file| file.path().extension().is_some_and(|ending| ending == "ndjson")).count();
    assert!(segments >= 4, "{segments} segments: none has ended by its size");
    eventually("all lines have come", Duration::from_secs(30), || async {
        collector.lines().len() >= journaled(&journal).values().sum::<usize>()
    })
    .await;
    shipper.terminate().await;
    let lines = collector.lines();
    // Whole, each once.
    let (came, written) = (count(lines.clone()), journaled(&journal));
    for (line, times) in &came {
        assert_eq!((*times, written.get(line)), (1, Some(&1)), "{line}");
    }
    assert_eq!(came.len(), written.len());
    // What is no record says so by its key.
    let objects: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let records: Vec<&Value> = objects.iter().filter(|object| object.get("begin").is_none()).collect();
    for (name, count) in [("first", 60), ("unseen", 30), ("second", 60), ("third", 20)] {
        for n in 0..count {
            for kind in ["long", "short"] {
                let id = format!("{name}-{kind}-{n}");
                assert_eq!(records.iter().filter(|record| record["request_id"] == *id).count(), 1, "{id}");
            }
        }
    }
    assert_eq!(records.iter().filter(|record| record["source"] == "cli").count(), 1);
    let in_table = app.database().audit_scalar("SELECT count(*) FROM audit_logs").await.unwrap();
    assert_eq!(records.len().to_string(), in_table);
}
