//! The service on one database, and what one window of load on it gives.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use crate::client::{Load, Running, Window};
use crate::cluster::Cluster;
use crate::options::Options;
use crate::processor::{self, Spent};
use crate::service::Server;
use crate::{Failure, http};

/// The least that the service takes; it is paid at the one login.
const BCRYPT_COST: u32 = 10;

/// Of load, unrecorded before each window.
const WARM_UP: Duration = Duration::from_millis(700);

/// What the copy of the audit records does in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    /// The audit log is locked by us, so the copy waits. On SQLite.
    HeldBack,
    Running,
}

/// One window of one server.
pub(crate) struct Sample {
    pub(crate) window: Window,
    spent: Spent,
    /// By the load.
    asking: Duration,
    /// Where the copy ran.
    pub(crate) copied: Option<Copied>,
}

/// What the copy did in a window, and after it.
pub(crate) struct Copied {
    elapsed: Duration,
    records: u64,
    own: Duration,
    database: Option<Duration>,
    /// Records that were in the journal only when the load ended.
    pub(crate) left: u64,
    /// How long the database took to have them.
    pub(crate) drain: Duration,
}

impl Sample {
    /// Processor time a request of the threads that answer, in microseconds.
    pub(crate) fn answer_us(&self) -> f64 {
        microseconds(self.spent.answering) / self.window.requests() as f64
    }

    /// Processor time a request of all other threads, in microseconds.
    pub(crate) fn beside_us(&self) -> f64 {
        microseconds(self.spent.beside()) / self.window.requests() as f64
    }

    /// Processor time a request of the load, which shares the cores with the servers, in microseconds.
    pub(crate) fn asking_us(&self) -> f64 {
        microseconds(self.asking) / self.window.requests() as f64
    }
}

impl Copied {
    pub(crate) fn per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }

    /// Processor time a record of the service's threads that do not answer, in microseconds.
    pub(crate) fn own_us(&self) -> f64 {
        microseconds(self.own) / self.records as f64
    }

    /// Processor time a record of a database that is a process of its own, in microseconds; else NaN.
    pub(crate) fn database_us(&self) -> f64 {
        self.database.map_or(f64::NAN, microseconds) / self.records as f64
    }
}

/// The service, with what it takes to ask it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    // Stops before its database does.
    pub(crate) server: Server,
    request: Vec<u8>,
    cluster: Option<Cluster>,
    home: tempfile::TempDir,
    /// Records that are in the journal or the database.
    recorded: u64,
}

impl Subject {
    /// Starts it on an empty database, on SQLite where there is no cluster, and logs in.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(name: &'static str, cluster: Option<Cluster>) -> Result<Self, Failure> {
        let home = tempfile::Builder::new().prefix("portcullis-load.").tempdir()?;
        let url = cluster.as_ref().map(|cluster| cluster.url("postgres"));
        let server = Server::ours(home.path(), url.as_deref(), BCRYPT_COST)?;
        let request = server.me_request()?;
        // The login.
        Ok(Self { name, server, request, cluster, home, recorded: 1 })
    }

    /// A window of load; returns when the database has all its records.
    ///
    /// # Errors
    /// The server fails, or answers anything but 200.
    pub(crate) fn window(&mut self, copy: Copy, options: &Options) -> Result<Sample, Failure> {
        let lock = match copy {
            Copy::HeldBack => Some(lock_audit_log(self.home.path())?),
            Copy::Running => None,
        };
        let running = load(options, &self.server, self.request.clone())?;
        running.pass(WARM_UP)?;
        let observe = || {
            let count = self.server.audit_count()?;
            let database = self.cluster.as_ref().map(|cluster| processor::spent_with_children(postmaster(cluster)?));
            Ok((count.written, database.transpose()?, Spent::of(self.server.pid())?, Spent::of_this_process()?))
        };
        let (window, before, after) = running.record(options.window, observe)?;
        self.recorded += running.end();
        drop(lock);
        let left = self.recorded.saturating_sub(after.0);
        let drain = self.server.drained(self.recorded)?;
        let (records, spent) = (after.0 - before.0, after.2.since(before.2));
        if copy == Copy::HeldBack && records > 0 {
            return Err("the copy could not be held back".into());
        }
        let database = after.1.zip(before.1).map(|(after, before)| after.saturating_sub(before));
        let copied = Copied { elapsed: window.elapsed, records, own: spent.beside(), database, left, drain };
        let asking = after.3.since(before.3).all;
        Ok(Sample { window, spent, asking, copied: (copy == Copy::Running).then_some(copied) })
    }
}

/// The service without its audit log.
pub(crate) struct Unrecorded {
    server: Server,
    request: Vec<u8>,
    _home: tempfile::TempDir,
}

impl Unrecorded {
    /// Starts it on an empty SQLite database, and logs in.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start() -> Result<Self, Failure> {
        let home = tempfile::Builder::new().prefix("portcullis-load.").tempdir()?;
        let server = Server::unrecorded(home.path(), BCRYPT_COST)?;
        let request = server.me_request()?;
        Ok(Self { server, request, _home: home })
    }

    /// A window of load.
    ///
    /// # Errors
    /// The server fails, or answers anything but 200.
    pub(crate) fn window(&self, options: &Options) -> Result<Sample, Failure> {
        plain_window(options, &self.server, self.request.clone())
    }
}

/// A window of the bare handler.
///
/// # Errors
/// The server fails.
pub(crate) fn bare_window(options: &Options, server: &Server) -> Result<Sample, Failure> {
    plain_window(options, server, http::get("/", None))
}

/// A window of a server that writes no records.
fn plain_window(options: &Options, server: &Server, request: Vec<u8>) -> Result<Sample, Failure> {
    let running = load(options, server, request)?;
    running.pass(WARM_UP)?;
    let (window, before, after) =
        running.record(options.window, || Ok((Spent::of(server.pid())?, Spent::of_this_process()?)))?;
    Ok(Sample { window, spent: after.0.since(before.0), asking: after.1.since(before.1).all, copied: None })
}

fn load(options: &Options, server: &Server, request: Vec<u8>) -> Result<Running, Failure> {
    Load { target: server.address, request, connections: options.connections, every: None }.begin()
}

/// Locks the SQLite file of the audit log until the connection is dropped.
fn lock_audit_log(home: &Path) -> Result<SqliteConnection, Failure> {
    let path = home.join("data").join("portcullis.db-audit");
    let mut connection = SqliteConnection::establish(path.to_str().ok_or("a path that is not UTF-8")?)?;
    connection.batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE")?;
    Ok(connection)
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The process whose children are the server's others.
fn postmaster(cluster: &Cluster) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(cluster.folder().join("data/postmaster.pid"))?;
    Ok(text.lines().next().unwrap_or_default().trim().parse()?)
}
