//! What this installation remembers of itself: who it is, and which key signs.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::pool::{read, transaction};
use super::schema::settings;
use super::{Store, StoreError, StoreResult};

const KEY_FINGERPRINT: &str = "jwt_secret_fingerprint";
const AUDIT_KEY: &str = "audit_key";
const INSTALLATION: &str = "installation_id";

pub(super) trait KeptStatements: Send {
    fn keep_first(&mut self, name: &str, value: &[u8]) -> impl Future<Output = QueryResult<()>> + Send;
    fn find_kept(&mut self, name: &str) -> impl Future<Output = QueryResult<Vec<u8>>> + Send;
    fn replace(&mut self, name: &str, value: &[u8]) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! kept_statements {
    ($($connection:ty),*) => {$(
        impl KeptStatements for $connection {
            async fn keep_first(&mut self, name: &str, value: &[u8]) -> QueryResult<()> {
                diesel::insert_into(settings::table)
                    .values((settings::name.eq(name.to_owned()), settings::value.eq(value.to_vec())))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn find_kept(&mut self, name: &str) -> QueryResult<Vec<u8>> {
                settings::table.find(name.to_owned()).select(settings::value).first(self).await
            }

            async fn replace(&mut self, name: &str, value: &[u8]) -> QueryResult<()> {
                diesel::update(settings::table.find(name.to_owned()))
                    .set(settings::value.eq(value.to_vec()))
                    .execute(self)
                    .await
                    .map(drop)
            }
        }
    )*};
}

kept_statements!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);

async fn claim<C: KeptStatements>(conn: &mut C, current: [u8; 32], previous: Option<[u8; 32]>) -> StoreResult<bool> {
    let kept = keep(conn, KEY_FINGERPRINT, &current).await?;
    if kept == current {
        return Ok(true);
    }
    if previous.is_none_or(|previous| kept != previous) {
        return Ok(false);
    }
    conn.replace(KEY_FINGERPRINT, &current).await?;
    Ok(true)
}

async fn keep<C: KeptStatements>(conn: &mut C, name: &str, first: &[u8]) -> StoreResult<Vec<u8>> {
    conn.keep_first(name, first).await?;
    Ok(conn.find_kept(name).await?)
}

async fn look_up<C: KeptStatements>(conn: &mut C, name: &str) -> StoreResult<Option<Vec<u8>>> {
    Ok(conn.find_kept(name).await.optional()?)
}

async fn replace<C: KeptStatements>(conn: &mut C, name: &str, value: &[u8]) -> StoreResult<()> {
    Ok(conn.replace(name, value).await?)
}

async fn identify<C: KeptStatements>(conn: &mut C) -> StoreResult<Uuid> {
    let kept = keep(conn, INSTALLATION, Uuid::now_v7().as_bytes()).await?;
    Uuid::from_slice(&kept).map_err(|error| StoreError::Unavailable(format!("the installation's id: {error}")))
}

impl Store {
    /// Whether this database is used with this key; the first one ever seen is
    /// kept. A change-over names the kept one as `previous`, and replaces it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn claim_key_fingerprint(&self, current: [u8; 32], previous: Option<[u8; 32]>) -> StoreResult<bool> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| claim(conn, current, previous)) }).await
    }

    /// The audit key as it is kept, encrypted: the first one that ever was.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn keep_audit_key(&self, fresh: Vec<u8>) -> StoreResult<Vec<u8>> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| keep(conn, AUDIT_KEY, &fresh)) }).await
    }

    /// The audit key as it is kept, encrypted; `None` where there was none yet.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_audit_key(&self) -> StoreResult<Option<Vec<u8>>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| look_up(conn, AUDIT_KEY)) }).await
    }

    /// Keeps the same audit key, encrypted under another key.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn rewrap_audit_key(&self, wrapped: Vec<u8>) -> StoreResult<()> {
        let pools = self.pools.clone();
        let work = async move { transaction!(pools, |conn| replace(conn, AUDIT_KEY, &wrapped)) };
        self.pools.run(work).await
    }

    /// Which database this is, wherever it is moved to: made by the first who asks.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn installation_id(&self) -> StoreResult<Uuid> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| identify(conn)) }).await
    }
}
