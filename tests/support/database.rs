//! A fresh database for each test, and a look into it.

use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

use super::Launch;
use super::postgres::{FreshDatabase, hold, query};

/// The two databases that every rule holds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgresql,
}

/// One database: on SQLite files in its home folder, on PostgreSQL one of the server's.
#[derive(Clone)]
pub(crate) struct Database {
    home: Arc<TempDir>,
    postgres: Option<Arc<FreshDatabase>>,
}

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

/// A lock that is held by a connection.
pub(crate) enum Held {
    Sqlite(Box<SqliteConnection>),
    Postgresql(tokio_postgres::Client),
}

impl Held {
    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(mut connection) => connection.batch_execute("ROLLBACK").expect("a transaction"),
            Self::Postgresql(client) => client.batch_execute("ROLLBACK").await.expect("a transaction"),
        }
    }
}

impl Database {
    /// An empty one, or none where there is no server.
    pub(crate) async fn fresh(backend: Backend) -> Option<Self> {
        let postgres = match backend {
            Backend::Sqlite => None,
            Backend::Postgresql => Some(Arc::new(FreshDatabase::create().await?)),
        };
        Some(Self { home: new_home(), postgres })
    }

    /// An empty one on a PostgreSQL server of its own, which [`Database::set_running`] stops; none where there are
    /// no server binaries.
    pub(crate) fn on_its_own_server() -> Option<Self> {
        let postgres = FreshDatabase::create_alone()?;
        Some(Self { home: new_home(), postgres: Some(Arc::new(postgres)) })
    }

    /// Stops its own server at once, or starts it again.
    pub(crate) fn set_running(&self, is_running: bool) {
        self.postgres.as_ref().expect("a PostgreSQL database").set_running(is_running);
    }

    /// An empty SQLite database, for what does not depend on the database.
    pub(crate) fn sqlite() -> Self {
        Self { home: new_home(), postgres: None }
    }

    pub(crate) fn backend(&self) -> Backend {
        if self.postgres.is_some() { Backend::Postgresql } else { Backend::Sqlite }
    }

    /// The `DATABASE_URL`; SQLite's default needs none.
    pub(crate) fn url(&self) -> Option<&str> {
        self.postgres.as_deref().map(FreshDatabase::url)
    }

    /// The same for another user of the server (PostgreSQL).
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let url = self.url().expect("a PostgreSQL database");
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("user="));
        let kept: String = kept.map(|pair| format!("{pair}&")).collect();
        format!("{base}?{kept}user={user}&password={password}")
    }

    /// An instance in the database's own home, with the usual settings.
    pub(crate) fn app(&self) -> Launch {
        Launch::new(self, Arc::clone(&self.home))
    }

    /// An instance on another machine: the same database, another `DATA_DIR`.
    pub(crate) fn another_app(&self) -> Launch {
        Launch::new(self, new_home())
    }

    /// Runs statements in the main database, on PostgreSQL or SQLite as it is.
    pub(crate) async fn execute(&self, sql: &str) {
        match self.url() {
            None => self.open_sqlite("portcullis.db").batch_execute(sql).expect("statements that hold"),
            Some(url) => drop(query(url, sql).await),
        }
    }

    /// Runs statements where the audit log is stored.
    pub(crate) async fn audit_execute(&self, sql: &str) {
        match self.url() {
            None => self.open_sqlite("portcullis.db-audit").batch_execute(sql).expect("statements that hold"),
            Some(url) => drop(query(url, sql).await),
        }
    }

    /// The one value that the query gives in the main database, as text.
    pub(crate) async fn scalar(&self, sql: &str) -> Option<String> {
        match self.url() {
            None => self.sqlite_scalar("portcullis.db", sql),
            Some(url) => query(url, sql).await,
        }
    }

    /// The one value that the query gives where the audit log is stored, as text.
    pub(crate) async fn audit_scalar(&self, sql: &str) -> Option<String> {
        match self.url() {
            None => self.sqlite_scalar("portcullis.db-audit", sql),
            Some(url) => query(url, sql).await,
        }
    }

    /// An id as this database writes it in SQL.
    pub(crate) fn id(&self, id: &str) -> String {
        match self.backend() {
            Backend::Sqlite => format!("x'{}'", id.replace('-', "")),
            Backend::Postgresql => format!("'{id}'"),
        }
    }

    /// Moves a session's last rotation an hour back, past every grace time.
    pub(crate) async fn age_rotation(&self, session: &str) {
        let earlier = match self.backend() {
            Backend::Sqlite => "rotated_at - 3600000",
            Backend::Postgresql => "rotated_at - interval '1 hour'",
        };
        let session = self.id(session);
        self.execute(&format!("UPDATE refresh_tokens SET rotated_at = {earlier} WHERE session_id = {session}")).await;
    }

    /// Takes the database away from the service, or gives it back (PostgreSQL).
    pub(crate) async fn set_away(&self, is_away: bool) {
        self.postgres.as_ref().expect("a PostgreSQL database").set_away(is_away).await;
    }

    /// Makes every change of roles wait, until what this gives is released.
    pub(crate) async fn hold_changes(&self) -> Held {
        match self.url() {
            None => {
                let mut connection = self.open_sqlite("portcullis.db");
                connection.batch_execute("BEGIN IMMEDIATE").expect("the lock");
                Held::Sqlite(Box::new(connection))
            }
            Some(url) => Held::Postgresql(hold(url, "BEGIN; LOCK TABLE change_clocks").await),
        }
    }

    fn open_sqlite(&self, file: &str) -> SqliteConnection {
        let path = self.home.path().join("data").join(file);
        let mut connection = SqliteConnection::establish(&path.display().to_string()).expect("opens");
        connection.batch_execute("PRAGMA busy_timeout = 10000").expect("a pragma");
        connection
    }

    fn sqlite_scalar(&self, file: &str, sql: &str) -> Option<String> {
        let query = format!("SELECT CAST(({sql}) AS TEXT) AS value");
        let cells: Vec<Cell> = diesel::sql_query(query).load(&mut self.open_sqlite(file)).expect("a query that holds");
        cells.into_iter().next().and_then(|cell| cell.value)
    }
}

fn new_home() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("portcullis-test").tempdir().expect("a temporary folder"))
}
