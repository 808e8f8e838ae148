//! Pools of connections, on a runtime of their own.
//!
//! A connection's task on an actix worker's single thread would wait behind
//! requests, and die with the worker before the audit has drained.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::{Pool as Bb8, PooledConnection, RunError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError, PoolableConnection, RecyclingMethod,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::connect::{self, AsyncSqlite};
use super::migrate::audit_path;
use super::settings::{Database, StoreSettings};
use super::{OpenError, PoolState, StoreError, StoreResult};

/// Threads of the store's runtime.
const THREADS: usize = 2;

pub(super) struct Pools {
    pub(super) settings: StoreSettings,
    pub(super) pool: DbPool,
    runtime: Option<Runtime>,
}

/// Which database it is: every query is written once and compiled for both.
pub(super) enum DbPool {
    /// Many readers, one writer, and readers of the audit log's own file.
    Sqlite { readers: Pool<AsyncSqlite>, writer: Pool<AsyncSqlite>, audit: Pool<AsyncSqlite> },
    /// Any connection reads and writes.
    Postgres(Pool<AsyncPgConnection>),
}

/// Connections, and word of those that could not be made: bb8 lets who waits for one wait for the whole timeout,
/// with its retries and without.
pub(super) struct Pool<C: PoolableConnection + 'static>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = PoolError>,
{
    connections: Bb8<C>,
    refusals: watch::Receiver<String>,
}

/// Where bb8 tells what went wrong with a connection that nobody has yet.
#[derive(Debug, Clone)]
struct Refusals(watch::Sender<String>);

impl bb8::ErrorSink<PoolError> for Refusals {
    fn sink(&self, error: PoolError) {
        // One that was closed while nobody used it says nothing about the next.
        if let PoolError::ConnectionError(error) = error {
            self.0.send_replace(error.to_string());
        }
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<PoolError>> {
        Box::new(self.clone())
    }
}

impl<C: PoolableConnection + 'static> Pool<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = PoolError>,
{
    /// A connection. Where none can be made it is waited for only while there are others, which may come back.
    pub(super) async fn get(&self) -> StoreResult<PooledConnection<'_, C>> {
        let mut refusals = self.refusals.clone();
        refusals.mark_unchanged();
        let mut getting = pin!(self.connections.get());
        loop {
            tokio::select! {
                biased;
                got = &mut getting => return Ok(got?),
                Ok(()) = refusals.changed() => {
                    if self.connections.state().connections == 0 {
                        return Err(StoreError::Unavailable(refusals.borrow().clone()));
                    }
                }
            }
        }
    }

    fn state(&self) -> bb8::State {
        self.connections.state()
    }
}

impl Pools {
    pub(super) fn new(settings: StoreSettings) -> Result<Arc<Self>, OpenError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|error| OpenError::Unreachable(error.to_string()))?;
        let _entered = runtime.enter();
        let timeout = settings.timeout;
        let pool = match &settings.database {
            Database::Sqlite(path) => DbPool::Sqlite {
                readers: pool(settings.pool_size, timeout, sqlite_setup(path.clone())),
                writer: pool(1, timeout, sqlite_setup(path.clone())),
                audit: pool(2, timeout, sqlite_setup(audit_path(path))),
            },
            Database::Postgres(url) => {
                let url = url.clone();
                DbPool::Postgres(pool(settings.pool_size, timeout, move || {
                    let url = url.clone();
                    async move { connect::postgres(&url, timeout).await }.boxed()
                }))
            }
        };
        drop(_entered);
        Ok(Arc::new(Self { settings, pool, runtime: Some(runtime) }))
    }

    /// Runs work to its end on the store's runtime, also when the caller goes away.
    pub(super) async fn run<T, F>(&self, work: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else { return Err(StoreError::Unavailable("the store is closed".into())) };
        // PostgreSQL can fall silent; SQLite waits for its lock no longer than it is told.
        let patience = match &self.pool {
            DbPool::Sqlite { .. } => Duration::MAX,
            DbPool::Postgres(_) => self.patience(),
        };
        match runtime.spawn(async move { tokio::time::timeout(patience, work).await }).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(StoreError::Unavailable("no answer from the database in time".into())),
            Err(error) => Err(StoreError::Unavailable(format!("a database task failed: {error}"))),
        }
    }

    /// The same for work that nobody waits for, and that may take as long as it takes.
    pub(super) async fn run_long<T, F>(&self, work: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else { return Err(StoreError::Unavailable("the store is closed".into())) };
        let done = runtime.spawn(work).await;
        done.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a database task failed: {error}"))))
    }

    /// No answer waits longer than twice `DATABASE_TIMEOUT_SECONDS`; a little less leaves room for the rest.
    pub(super) fn patience(&self) -> Duration {
        self.settings.timeout.mul_f64(1.8)
    }

    pub(super) fn state(&self) -> PoolState {
        let state = match &self.pool {
            DbPool::Sqlite { readers, .. } => readers.state(),
            DbPool::Postgres(pool) => pool.state(),
        };
        PoolState { connections: state.connections, idle: state.idle_connections }
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where another runtime drops this.
            runtime.shutdown_background();
        }
    }
}

fn sqlite_setup(path: PathBuf) -> impl Fn() -> BoxFuture<'static, diesel::ConnectionResult<AsyncSqlite>> + Send + Sync {
    move || {
        let path = path.clone();
        async move { connect::async_sqlite(&path).await }.boxed()
    }
}

fn pool<C>(
    size: u32,
    timeout: Duration,
    connect: impl Fn() -> BoxFuture<'static, diesel::ConnectionResult<C>> + Send + Sync + 'static,
) -> Pool<C>
where
    C: PoolableConnection + 'static,
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = PoolError>,
{
    let mut config = ManagerConfig::<C>::default();
    config.custom_setup = Box::new(move |_| connect());
    // A query on every checkout would double what a look-up costs; whether the
    // connection was closed, as by a restart of the server, is known without one.
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|connection: &mut C| {
        let is_broken = connection.is_broken();
        async move { if is_broken { Err(diesel::result::Error::BrokenTransactionManager) } else { Ok(()) } }.boxed()
    }));
    let manager = AsyncDieselConnectionManager::<C>::new_with_config("", config);
    let (sender, refusals) = watch::channel(String::new());
    let connections = Bb8::builder()
        .max_size(size)
        .connection_timeout(timeout)
        .test_on_check_out(true)
        // A server that refuses would be asked again at growing intervals; so, each who comes asks it at once.
        .retry_connection(false)
        .error_sink(Box::new(Refusals(sender)))
        .build_unchecked(manager);
    Pool { connections, refusals }
}

impl From<RunError> for StoreError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::User(error) => Self::Unavailable(error.to_string()),
            RunError::TimedOut => Self::Unavailable("no database connection in time".into()),
        }
    }
}

/// Runs a query on a connection that reads: `read!(pools, |conn| query)`.
macro_rules! read {
    ($pools:expr, |$conn:ident| $body:expr) => {{
        match &$pools.pool {
            $crate::store::pool::DbPool::Sqlite { readers, .. } => {
                let mut pooled = readers.get().await?;
                let $conn = &mut *pooled;
                $body.await.map_err($crate::store::StoreError::from)
            }
            $crate::store::pool::DbPool::Postgres(pool) => {
                let mut pooled = pool.get().await?;
                let $conn = &mut *pooled;
                $body.await.map_err($crate::store::StoreError::from)
            }
        }
    }};
}

/// Runs queries that all see one moment: `snapshot!(pools, |conn| queries)`.
macro_rules! snapshot {
    ($pools:expr, |$conn:ident| $body:expr) => {{
        match &$pools.pool {
            $crate::store::pool::DbPool::Sqlite { readers, .. } => {
                let mut pooled = readers.get().await?;
                diesel_async::AsyncConnection::transaction::<_, $crate::store::StoreError, _>(
                    &mut *pooled,
                    async move |$conn| Ok($body.await?),
                )
                .await
            }
            $crate::store::pool::DbPool::Postgres(pool) => {
                let mut pooled = pool.get().await?;
                pooled
                    .build_transaction()
                    .repeatable_read()
                    .read_only()
                    .run::<_, $crate::store::StoreError, _>(async move |$conn| Ok($body.await?))
                    .await
            }
        }
    }};
}

/// Runs one statement that writes: `write!(pools, |conn| statement)`.
macro_rules! write {
    ($pools:expr, |$conn:ident| $body:expr) => {{
        match &$pools.pool {
            $crate::store::pool::DbPool::Sqlite { writer, .. } => {
                let mut pooled = writer.get().await?;
                let $conn = &mut *pooled;
                $body.await.map_err($crate::store::StoreError::from)
            }
            $crate::store::pool::DbPool::Postgres(pool) => {
                let mut pooled = pool.get().await?;
                let $conn = &mut *pooled;
                $body.await.map_err($crate::store::StoreError::from)
            }
        }
    }};
}

/// Runs statements in one transaction that writes: `transaction!(pools, |conn| work)`;
/// an error of any kind rolls it back.
macro_rules! transaction {
    ($pools:expr, |$conn:ident| $body:expr) => {{
        match &$pools.pool {
            $crate::store::pool::DbPool::Sqlite { writer, .. } => {
                let mut pooled = writer.get().await?;
                pooled.immediate_transaction::<_, $crate::store::StoreError, _>(async move |$conn| $body.await).await
            }
            $crate::store::pool::DbPool::Postgres(pool) => {
                let mut pooled = pool.get().await?;
                diesel_async::AsyncConnection::transaction::<_, $crate::store::StoreError, _>(
                    &mut *pooled,
                    async move |$conn| $body.await,
                )
                .await
            }
        }
    }};
}

/// Asks where the audit log is: `ask!(pools, |conn| question)`.
macro_rules! ask {
    ($pools:expr, |$conn:ident| $question:expr) => {
        match &$pools.pool {
            $crate::store::pool::DbPool::Sqlite { audit, .. } => {
                let $conn = &mut *audit.get().await?;
                $question.await.map_err($crate::store::StoreError::from)
            }
            $crate::store::pool::DbPool::Postgres(pool) => {
                let $conn = &mut *pool.get().await?;
                $question.await.map_err($crate::store::StoreError::from)
            }
        }
    };
}

pub(super) use {ask, read, snapshot, transaction, write};
