//! The fingerprint of the signing key that this database is used with.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::pool::transaction;
use super::schema::settings;
use super::{Store, StoreResult};

const NAME: &str = "jwt_secret_fingerprint";

pub(super) trait KeyStatements: Send {
    fn keep_first(&mut self, value: [u8; 32]) -> impl Future<Output = QueryResult<()>> + Send;
    fn find_kept(&mut self) -> impl Future<Output = QueryResult<Vec<u8>>> + Send;
    fn replace(&mut self, value: [u8; 32]) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! key_statements {
    ($($connection:ty),*) => {$(
        impl KeyStatements for $connection {
            async fn keep_first(&mut self, value: [u8; 32]) -> QueryResult<()> {
                diesel::insert_into(settings::table)
                    .values((settings::name.eq(NAME), settings::value.eq(value.to_vec())))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn find_kept(&mut self) -> QueryResult<Vec<u8>> {
                settings::table.find(NAME).select(settings::value).first(self).await
            }

            async fn replace(&mut self, value: [u8; 32]) -> QueryResult<()> {
                diesel::update(settings::table.find(NAME))
                    .set(settings::value.eq(value.to_vec()))
                    .execute(self)
                    .await
                    .map(drop)
            }
        }
    )*};
}

key_statements!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);

async fn claim<C: KeyStatements>(conn: &mut C, current: [u8; 32], previous: Option<[u8; 32]>) -> StoreResult<bool> {
    conn.keep_first(current).await?;
    let kept = conn.find_kept().await?;
    if kept == current {
        return Ok(true);
    }
    if previous.is_none_or(|previous| kept != previous) {
        return Ok(false);
    }
    conn.replace(current).await?;
    Ok(true)
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
}
