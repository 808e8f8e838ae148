//! A PostgreSQL server to test on: the one of `TEST_DATABASE_URL`, or a private one for this process.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::cluster::Cluster;

/// Nothing here outlives the tests: the disk is not waited for, and little of it is taken.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=128MB",
    "max_connections=300",
    "shared_buffers=64MB",
];

struct Server {
    /// Up to the new database's name, and after it.
    url: (String, String),
    /// Of the database `postgres`, to make others from.
    admin: String,
    /// The private one.
    cluster: Option<Cluster>,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();

/// An empty database; dropped with the test that it is for.
#[derive(Debug)]
pub(super) struct FreshDatabase {
    name: String,
    url: String,
    /// Its own server, which it may stop.
    server: Option<Cluster>,
}

impl FreshDatabase {
    /// A new one; none where there is no server.
    pub(super) async fn create() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(find_or_start).as_ref()?;
        let name = format!("portcullis_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        query(&server.admin, &format!("CREATE DATABASE {name}")).await;
        let (before, after) = &server.url;
        Some(Self { url: format!("{before}{name}{after}"), name, server: None })
    }

    /// One on a server of its own; none where there are no binaries of one.
    pub(super) fn create_alone() -> Option<Self> {
        // What it has committed outlives it: it may end at any moment.
        let settings: Vec<&str> = SETTINGS.iter().copied().filter(|it| *it != "synchronous_commit=off").collect();
        match Cluster::start(&settings) {
            Ok(Some(server)) => {
                let name = "postgres".to_owned();
                Some(Self { url: server.url(&name), name, server: Some(server) })
            }
            Ok(None) => not_tested("no server binaries found"),
            Err(why) => not_tested(&why),
        }
    }

    /// Stops its own server, or starts it again.
    pub(super) fn set_running(&self, is_running: bool) {
        let server = self.server.as_ref().expect("a server of its own");
        if is_running { server.begin() } else { server.end() }.expect("does what it is told");
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Takes it away from the service, or gives it back: no connection is let in, and those that are
    /// there end.
    pub(super) async fn set_away(&self, is_away: bool) {
        let Self { name, .. } = self;
        on_server(&format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {}", !is_away)).await;
        if is_away {
            let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
            on_server(&end).await;
        }
    }
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        if self.server.is_some() {
            return;
        }
        // Hundreds of them would take gigabytes. A thread of its own: this may be inside a runtime.
        let drop_it = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(on_server(&drop_it));
        });
        // A test that has failed already says more than what came of this.
        assert!(dropping.join().is_ok() || std::thread::panicking(), "a database was not dropped");
    }
}

/// The first value that a statement gives on the server's own database.
async fn on_server(sql: &str) -> Option<String> {
    query(&SERVER.get().and_then(Option::as_ref).expect("a server").admin, sql).await
}

/// A connection on which statements have been run, and which stays in their transaction.
pub(super) async fn hold(url: &str, sql: &str) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.unwrap_or_else(|error| panic!("{error:?}\n{}", last_words()));
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}\n{}", last_words()));
    client
}

/// The first value of the first row, as text.
pub(super) async fn query(url: &str, sql: &str) -> Option<String> {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.unwrap_or_else(|error| panic!("{error:?}\n{}", last_words()));
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}\n{}", last_words()));
    drop(client);
    driver.await.expect("does not panic").expect("ends well");
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

/// What to look at where the private server does not answer: its last lines, and whether its disk is full.
fn last_words() -> String {
    let Some(cluster) = SERVER.get().and_then(Option::as_ref).and_then(|server| server.cluster.as_ref()) else {
        return String::new();
    };
    let log = std::fs::read_to_string(cluster.folder().join("log"));
    let log = log.unwrap_or_else(|error| format!("the server's log can't be read: {error}"));
    let lines: Vec<&str> = log.lines().collect();
    let space = std::process::Command::new("df").args(["-h", "/tmp"]).output();
    let space = space.map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned()).unwrap_or_default();
    format!("{}\n{space}", lines[lines.len().saturating_sub(20)..].join("\n"))
}

fn find_or_start() -> Option<Server> {
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let admin = url.clone();
        let url = reqwest::Url::parse(&url).expect("TEST_DATABASE_URL is a URL");
        let after = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let before = url.as_str().split('?').next().unwrap_or_default();
        let before = before.strip_suffix(url.path()).unwrap_or(before);
        return Some(Server { admin, url: (format!("{before}/"), after), cluster: None });
    }
    match Cluster::start(SETTINGS) {
        Ok(Some(cluster)) => {
            let url = cluster.url("");
            let (before, after) = url.split_once('?').expect("a query");
            let url = (before.to_owned(), format!("?{after}"));
            Some(Server { admin: cluster.url("postgres"), url, cluster: Some(cluster) })
        }
        Ok(None) => not_tested("no server binaries found, and TEST_DATABASE_URL is not set"),
        Err(why) => not_tested(&why),
    }
}

/// Says it on the real standard error: the test runner would keep `eprintln!` to itself.
fn not_tested<T>(why: &str) -> Option<T> {
    let line = format!("\nPOSTGRESQL WAS NOT TESTED: {why}\n");
    assert!(std::env::var("TEST_POSTGRES").as_deref() != Ok("required"), "{line}");
    drop(std::io::stderr().write_all(line.as_bytes()));
    None
}
