//! A fresh database for each test, and a look into it.

use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::{Launch, postgres};

/// The two databases that every rule holds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgresql,
}

/// One database: on SQLite files in its home folder, on PostgreSQL named by a URL.
#[derive(Clone)]
pub(crate) struct Database {
    home: Arc<TempDir>,
    url: Option<String>,
}

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

impl Database {
    /// An empty one, or none where there is no server.
    pub(crate) async fn fresh(backend: Backend) -> Option<Self> {
        let url = match backend {
            Backend::Sqlite => None,
            Backend::Postgresql => Some(postgres::fresh_database().await?),
        };
        Some(Self { home: new_home(), url })
    }

    /// An empty SQLite database, for what does not depend on the database.
    pub(crate) fn sqlite() -> Self {
        Self { home: new_home(), url: None }
    }

    pub(crate) fn backend(&self) -> Backend {
        if self.url.is_some() { Backend::Postgresql } else { Backend::Sqlite }
    }

    /// The `DATABASE_URL`; SQLite's default needs none.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
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
        match &self.url {
            None => self.open_sqlite("portcullis.db").batch_execute(sql).expect("statements that hold"),
            Some(url) => drop(postgres_query(url, sql).await),
        }
    }

    /// The one value that the query gives in the main database, as text.
    pub(crate) async fn scalar(&self, sql: &str) -> Option<String> {
        match &self.url {
            None => self.sqlite_scalar("portcullis.db", sql),
            Some(url) => postgres_query(url, sql).await,
        }
    }

    /// The one value that the query gives where the audit log is stored, as text.
    pub(crate) async fn audit_scalar(&self, sql: &str) -> Option<String> {
        match &self.url {
            None => self.sqlite_scalar("audit.db", sql),
            Some(url) => postgres_query(url, sql).await,
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

    /// Takes the database away from the service, or gives it back (PostgreSQL): no connection is let in,
    /// and those that are there end.
    pub(crate) async fn set_away(&self, is_away: bool) {
        let url = self.url().expect("a PostgreSQL database");
        let name =
            url.rsplit('/').find_map(|part| part.split('?').next().filter(|name| name.starts_with("portcullis_test_")));
        let name = name.expect("a test's own database");
        let maintenance = postgres::maintenance_url();
        postgres_query(maintenance, &format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {}", !is_away)).await;
        if is_away {
            let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
            postgres_query(maintenance, &end).await;
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

/// The first value of the first row, as text.
pub(super) async fn postgres_query(url: &str, sql: &str) -> Option<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    drop(client);
    driver.await.expect("does not panic").expect("ends well");
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}
