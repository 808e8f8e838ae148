//! An audit log filled with records: made once, and asked through the service.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use indicatif::{ProgressBar, ProgressStyle};
use portcullis::app::open_sealer;
use portcullis::clock::{Clock, SystemClock};
use portcullis::config::Config;
use portcullis::domain::WriterId;
use portcullis::proof::{Sealed, Sealer};
use portcullis::store::Store;
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::cluster::Cluster;
use crate::options::{Backend, Options};
use crate::records::{Records, SPAN_MS};
use crate::report::whole;
use crate::service::{Server, variables};
use crate::{Failure, progress};

/// Records in a transaction of the filling.
const BATCH: u64 = 20_000;
/// The least that the service takes.
const BCRYPT_COST: u32 = 10;
/// How far ahead of the clock the log ends: the newest records are not those of the questions themselves.
const AHEAD_MS: u64 = 86_400_000;
/// Batches that are made ahead.
const AHEAD: usize = 2;

/// Where logs are made.
pub(crate) struct Place<'a> {
    pub(crate) backend: Backend,
    pub(crate) cluster: Option<&'a Cluster>,
    pub(crate) options: &'a Options,
}

/// A filled log.
pub(crate) struct Log {
    pub(crate) records: Records,
    pub(crate) home: Home,
    pub(crate) database: Database,
}

/// The folder of the service's own files.
pub(crate) enum Home {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Deref for Home {
    type Target = Path;

    fn deref(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Where the log's table is.
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place<'_> {
    /// A log of so many records: the one that was kept, or a new one. Says how long the filling took.
    ///
    /// # Errors
    /// The database can't be filled.
    pub(crate) fn log(&self, count: u64) -> Result<Log, Failure> {
        let name = self.backend.name().to_lowercase();
        let home = match &self.options.keep {
            Some(folder) => Home::Kept(folder.join(format!("{name}-{count}"))),
            None => Home::Temporary(tempfile::Builder::new().prefix("portcullis-audit.").tempdir()?),
        };
        std::fs::create_dir_all(&*home)?;
        let database = match self.backend {
            Backend::Sqlite => Database::Sqlite(home.join("data/portcullis.db-audit")),
            Backend::Postgresql => Database::Postgres(self.postgres(&format!("portcullis_audit_{count}"))?),
        };
        // Written when the log is whole: the time of its last record.
        let mark = home.join("filled");
        let kept = std::fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse().ok());
        let end_ms = || u64::try_from(SystemClock.now().as_millis()).map(|now| now + AHEAD_MS);
        let records = Records { count, end_ms: kept.map_or_else(end_ms, Ok)? };
        let log = Log { records, home, database };
        if kept.is_none() {
            log.fill()?;
            std::fs::write(mark, records.end_ms.to_string())?;
        }
        Ok(log)
    }

    /// The URL of a database that there is from now on.
    fn postgres(&self, name: &str) -> Result<String, Failure> {
        let base = match (&self.options.url, self.cluster) {
            (Some(url), _) => url.clone(),
            (None, Some(cluster)) => cluster.url("postgres"),
            (None, None) => return Err("no PostgreSQL".into()),
        };
        let (before, query) = base.split_once('?').unwrap_or((&base, ""));
        let (server, _) = before.rsplit_once('/').ok_or("a URL without a database")?;
        let exists = query_postgres(&base, &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))?;
        if exists.is_empty() {
            query_postgres(&base, &format!("CREATE DATABASE {name}"))?;
        }
        Ok(format!("{server}/{name}?{query}"))
    }
}

impl Log {
    /// The service on this log.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn serve(&self) -> Result<Server, Failure> {
        Server::ours(&self.home, self.database.url(), BCRYPT_COST)
    }

    /// The store of this log, and what seals its records.
    ///
    /// # Errors
    /// It can't be opened.
    pub(crate) async fn open(&self) -> Result<(Store, Sealer), Failure> {
        let mut variables = variables(&self.home);
        variables.extend(self.database.url().map(|url| ("DATABASE_URL", url.to_owned())));
        let config = Config::from_vars(&|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
        })?;
        let store = Store::open(config.store).await?;
        let sealer = open_sealer(&store, &config.tokens).await?;
        Ok((store, sealer))
    }

    /// The records by way of the service's own batches, sealed and linked, and the indexes after them.
    fn fill(&self) -> Result<(), Failure> {
        // It migrates, and makes the administrator.
        drop(self.serve()?);
        self.database.make_partitions(self.records)?;
        let indexes = self.database.indexes()?;
        for index in &indexes {
            self.database.execute(&format!("DROP INDEX {}", index.name))?;
        }
        let begun = Instant::now();
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.insert())?;
        let inserted = begun.elapsed();
        for index in &indexes {
            progress(&format!("the index {}", index.name));
            self.database.execute(&index.sql)?;
        }
        // As it would be after a while by autovacuum.
        if let Database::Postgres(url) = &self.database {
            progress("vacuum, analyze");
            query_postgres(url, "VACUUM (ANALYZE) audit_logs")?;
            query_postgres(url, "CHECKPOINT")?;
        }
        let rate = whole(self.records.count as f64 / inserted.as_secs_f64());
        progress(&format!("filled in {:.0} s, {rate} records/s before indexes", begun.elapsed().as_secs_f64()));
        Ok(())
    }

    async fn insert(&self) -> Result<(), Failure> {
        let (store, sealer) = self.open().await?;
        let mut sink = store.audit_sink(sealer.clone());
        let (writer, records) = (WriterId::generate(), self.records);
        let bar = bar(records.count, "records");
        let (made, batches) = mpsc::sync_channel::<Vec<Sealed>>(AHEAD);
        let making = std::thread::spawn(move || {
            for begin in (0..records.count).step_by(BATCH as usize) {
                let numbers = begin..records.count.min(begin + BATCH);
                let batch = numbers.map(|index| sealer.sealed(writer, index + 1, records.record(index))).collect();
                if made.send(batch).is_err() {
                    return;
                }
            }
        });
        while let Ok(batch) = batches.recv() {
            sink.insert(writer, &batch).await?;
            bar.inc(batch.len() as u64);
        }
        making.join().map_err(|_| "the making of records failed")?;
        bar.finish_and_clear();
        Ok(())
    }
}

/// An index of the log's table, beside the primary key.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) name: String,
    /// What makes it.
    pub(crate) sql: String,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

impl Database {
    /// For `DATABASE_URL`; SQLite's default needs none.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(url) => Some(url),
        }
    }

    /// Runs statements.
    ///
    /// # Errors
    /// One of them fails.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), Failure> {
        match self {
            Self::Sqlite(path) => Ok(open_sqlite(path)?.batch_execute(sql)?),
            Self::Postgres(url) => query_postgres(url, sql).map(drop),
        }
    }

    /// The indexes beside the primary key.
    ///
    /// # Errors
    /// The database does not tell.
    pub(crate) fn indexes(&self) -> Result<Vec<Index>, Failure> {
        match self {
            Self::Sqlite(path) => {
                let query = "SELECT name, sql FROM sqlite_master \
                             WHERE type = 'index' AND tbl_name = 'audit_logs' AND sql IS NOT NULL ORDER BY name";
                let rows: Vec<Named> = diesel::sql_query(query).load(&mut open_sqlite(path)?)?;
                Ok(rows.into_iter().map(|Named { name, sql }| Index { name, sql }).collect())
            }
            Self::Postgres(url) => {
                let query = "SELECT indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes \
                             WHERE tablename = 'audit_logs' AND indexdef NOT LIKE '% UNIQUE %' ORDER BY indexname";
                let rows = query_postgres(url, query)?;
                let index = |mut row: Vec<String>| Some(Index { sql: row.pop()?, name: row.pop()? });
                Ok(rows.into_iter().filter_map(index).collect())
            }
        }
    }

    /// On PostgreSQL the weeks that a service would have made partitions for, had it run then.
    fn make_partitions(&self, records: Records) -> Result<(), Failure> {
        let Self::Postgres(url) = self else { return Ok(()) };
        let begin = (records.end_ms - SPAN_MS) as f64 / 1000.0;
        let make = format!(
            "DO $$
             DECLARE
                 monday timestamp := date_trunc('week', to_timestamp({begin}) AT TIME ZONE 'UTC');
                 this   timestamp := date_trunc('week', now() AT TIME ZONE 'UTC');
             BEGIN
                 WHILE monday < this LOOP
                     EXECUTE (SELECT format('CREATE TABLE IF NOT EXISTS %I PARTITION OF audit_logs FOR VALUES FROM (%L) TO (%L)',
                             'audit_logs_' || to_char(monday, 'YYYYMMDD'), min(id::text), max(id::text))
                         FROM (SELECT (lpad(to_hex((extract(epoch FROM day) * 1000)::bigint), 12, '0')
                             || repeat('0', 20))::uuid AS id
                             FROM unnest(ARRAY[monday, monday + interval '7 days']) AS day) AS bounds);
                     monday := monday + interval '7 days';
                 END LOOP;
             END $$"
        );
        query_postgres(url, &make).map(drop)
    }
}

#[derive(QueryableByName)]
struct Size {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    bytes: i64,
}

/// What a table or index of SQLite takes of its file.
///
/// # Errors
/// SQLite is built without `dbstat`.
pub(crate) fn sqlite_bytes(path: &Path, name: &str) -> Result<f64, Failure> {
    let query =
        format!("SELECT coalesce(sum(pgsize), 0) AS bytes FROM dbstat WHERE name = '{name}' AND aggregate = TRUE");
    let size: Size = diesel::sql_query(query).get_result(&mut open_sqlite(path)?)?;
    Ok(size.bytes as f64)
}

/// A connection as the service has it, with a greater cache.
///
/// # Errors
/// There is no such file.
pub(crate) fn open_sqlite(path: &Path) -> Result<SqliteConnection, Failure> {
    let mut connection = SqliteConnection::establish(path.to_str().ok_or("a path that is not UTF-8")?)?;
    connection.batch_execute("PRAGMA busy_timeout = 60000; PRAGMA synchronous = FULL; PRAGMA cache_size = -200000")?;
    Ok(connection)
}

/// The rows that statements give, as text.
///
/// # Errors
/// One of them fails.
pub(crate) fn query_postgres(url: &str, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.map_err(|error| match error.as_db_error() {
            Some(error) => format!("{sql}: {error}").into(),
            None => Failure::from(error),
        })?;
        drop(client);
        driver.await??;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    })
}

/// How far something long is.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("audit: {bar:40} {pos} of {len} {msg}, {per_sec}, {eta} left");
    let bar = ProgressBar::new(total).with_message(what.to_owned());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
