//! The rows of linked provider accounts and the statements about them, compiled for each database.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{oauth_identities, oauth_used_tokens, users};
use super::types::{DbId, DbTime};
use crate::domain::{Identity, IdentityId, ProviderIdentity, Timestamp, UserId};

#[derive(Queryable, Selectable)]
#[diesel(table_name = oauth_identities)]
struct IdentityRow {
    id: DbId,
    provider: String,
    issuer: String,
    subject: String,
    email: Option<String>,
    linked_at: DbTime,
    last_login_at: Option<DbTime>,
}

impl TryFrom<IdentityRow> for Identity {
    type Error = diesel::result::Error;

    fn try_from(row: IdentityRow) -> QueryResult<Self> {
        let unknown = |_| diesel::result::Error::DeserializationError("an identity of an unknown provider".into());
        Ok(Self {
            id: row.id.into(),
            provider: row.provider.parse().map_err(unknown)?,
            issuer: row.issuer,
            subject: row.subject,
            email: row.email,
            linked_at: row.linked_at.into(),
            last_login_at: row.last_login_at.map(Into::into),
        })
    }
}

/// Whose a linked account is.
pub(super) struct Holder {
    pub(super) identity: IdentityId,
    pub(super) user: UserId,
    pub(super) username: String,
    pub(super) is_active: bool,
}

/// The statements about linked accounts, compiled for each database.
pub(super) trait IdentityStatements: Send {
    fn find_holder(&mut self, issuer: &str, subject: &str) -> impl Future<Output = QueryResult<Option<Holder>>> + Send;
    fn insert_identity(
        &mut self,
        id: IdentityId,
        user: UserId,
        identity: &ProviderIdentity,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn list_identities(&mut self, user: UserId) -> impl Future<Output = QueryResult<Vec<Identity>>> + Send;
    fn delete_identity(
        &mut self,
        user: UserId,
        id: IdentityId,
    ) -> impl Future<Output = QueryResult<Option<Identity>>> + Send;
    /// False where it was used before.
    fn use_once(&mut self, digest: [u8; 32], until: Timestamp) -> impl Future<Output = QueryResult<bool>> + Send;
}

macro_rules! identity_statements {
    ($($connection:ty),*) => {$(
        impl IdentityStatements for $connection {
            async fn find_holder(&mut self, issuer: &str, subject: &str) -> QueryResult<Option<Holder>> {
                let found = oauth_identities::table
                    .inner_join(users::table.on(users::id.eq(oauth_identities::user_id)))
                    .filter(oauth_identities::issuer.eq(issuer.to_owned()))
                    .filter(oauth_identities::subject.eq(subject.to_owned()))
                    .select((oauth_identities::id, users::id, users::username, users::is_active))
                    .first::<(DbId, DbId, String, bool)>(self)
                    .await
                    .optional()?;
                Ok(found.map(|(identity, user, username, is_active)| Holder {
                    identity: identity.into(),
                    user: user.into(),
                    username,
                    is_active,
                }))
            }

            async fn insert_identity(
                &mut self,
                id: IdentityId,
                user: UserId,
                identity: &ProviderIdentity,
                now: Timestamp,
            ) -> QueryResult<()> {
                diesel::insert_into(oauth_identities::table)
                    .values((
                        oauth_identities::id.eq(DbId::from(id)),
                        oauth_identities::user_id.eq(DbId::from(user)),
                        oauth_identities::provider.eq(identity.provider.as_str()),
                        oauth_identities::issuer.eq(identity.issuer.clone()),
                        oauth_identities::subject.eq(identity.subject.clone()),
                        oauth_identities::email.eq(identity.email.as_ref().map(|email| email.as_str().to_owned())),
                        oauth_identities::linked_at.eq(DbTime::from(now)),
                    ))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn list_identities(&mut self, user: UserId) -> QueryResult<Vec<Identity>> {
                let rows = oauth_identities::table
                    .filter(oauth_identities::user_id.eq(DbId::from(user)))
                    .order(oauth_identities::id)
                    .select(IdentityRow::as_select())
                    .load(self)
                    .await?;
                rows.into_iter().map(TryInto::try_into).collect()
            }

            async fn delete_identity(&mut self, user: UserId, id: IdentityId) -> QueryResult<Option<Identity>> {
                let own = oauth_identities::table
                    .find(DbId::from(id))
                    .filter(oauth_identities::user_id.eq(DbId::from(user)));
                let row = own.select(IdentityRow::as_select()).first(self).await.optional()?;
                diesel::delete(own).execute(self).await?;
                row.map(TryInto::try_into).transpose()
            }

            async fn use_once(&mut self, digest: [u8; 32], until: Timestamp) -> QueryResult<bool> {
                let inserted = diesel::insert_into(oauth_used_tokens::table)
                    .values((
                        oauth_used_tokens::digest.eq(digest.to_vec()),
                        oauth_used_tokens::expires_at.eq(DbTime::from(until)),
                    ))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await?;
                Ok(inserted == 1)
            }
        }
    )*};
}

identity_statements!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);
