//! Whether the database answers.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

pub(super) trait PingStatement: Send {
    fn ping(&mut self) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! ping_statement {
    ($($connection:ty),*) => {$(
        impl PingStatement for $connection {
            async fn ping(&mut self) -> QueryResult<()> {
                diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).get_result::<i32>(self).await.map(drop)
            }
        }
    )*};
}

ping_statement!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);
