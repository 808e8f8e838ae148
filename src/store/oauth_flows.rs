//! Sign-ins by a browser between its steps, for whichever instance has the next one. Each step works once.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::pool::{transaction, write};
use super::schema::{oauth_codes, oauth_flows, oauth_used_tokens};
use super::types::DbTime;
use super::{Store, StoreError, StoreResult};
use crate::domain::{Email, FullName, Provider, ProviderIdentity, Timestamp, TokenHash};

/// A sign-in that a browser has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthFlow {
    /// Where it signs in.
    pub provider: Provider,
    /// At which domain, with Okta.
    pub okta_domain: Option<String>,
    /// Where it ends: a page of the allow-list.
    pub redirect_uri: String,
    /// What the page wants back.
    pub page_state: String,
    /// The page's challenge (RFC 7636, S256).
    pub code_challenge: String,
}

/// What a page's one-time code stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthCode {
    /// The page's challenge (RFC 7636, S256).
    pub code_challenge: String,
    /// Who the provider says it is.
    pub identity: ProviderIdentity,
}

type FlowRow = (String, Option<String>, String, String, String);
type CodeRow = (String, String, String, String, Option<String>, Option<String>, Option<String>);

fn provider_of(name: &str) -> StoreResult<Provider> {
    name.parse().map_err(|_| StoreError::Unreadable("a sign-in at an unknown provider".into()))
}

fn flow_of((provider, okta_domain, redirect_uri, page_state, code_challenge): FlowRow) -> StoreResult<OauthFlow> {
    let provider = provider_of(&provider)?;
    Ok(OauthFlow { provider, okta_domain, redirect_uri, page_state, code_challenge })
}

fn code_of(row: CodeRow) -> StoreResult<OauthCode> {
    let (code_challenge, provider, issuer, subject, email, full_name, username_hint) = row;
    let identity = ProviderIdentity {
        provider: provider_of(&provider)?,
        issuer,
        subject,
        email: email.and_then(|email| Email::parse(&email).ok()),
        full_name: full_name.and_then(|name| FullName::parse(&name).ok()),
        username_hint,
    };
    Ok(OauthCode { code_challenge, identity })
}

pub(super) trait FlowStatements: Send {
    fn insert_flow(
        &mut self,
        state: TokenHash,
        browser: TokenHash,
        flow: OauthFlow,
        until: Timestamp,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn take_flow(
        &mut self,
        state: TokenHash,
        browser: TokenHash,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<Option<FlowRow>>> + Send;
    fn insert_code(
        &mut self,
        code: TokenHash,
        stands_for: OauthCode,
        until: Timestamp,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn take_code(
        &mut self,
        code: TokenHash,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<Option<CodeRow>>> + Send;
    /// Deletes what is too old to be accepted.
    fn delete_old_flows(&mut self, now: Timestamp) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! flow_statements {
    ($($connection:ty),*) => {$(
        impl FlowStatements for $connection {
            async fn insert_flow(
                &mut self,
                state: TokenHash,
                browser: TokenHash,
                flow: OauthFlow,
                until: Timestamp,
            ) -> QueryResult<()> {
                diesel::insert_into(oauth_flows::table)
                    .values((
                        oauth_flows::state_hash.eq(state.0.to_vec()),
                        oauth_flows::browser_hash.eq(browser.0.to_vec()),
                        oauth_flows::provider.eq(flow.provider.as_str()),
                        oauth_flows::okta_domain.eq(flow.okta_domain),
                        oauth_flows::redirect_uri.eq(flow.redirect_uri),
                        oauth_flows::page_state.eq(flow.page_state),
                        oauth_flows::code_challenge.eq(flow.code_challenge),
                        oauth_flows::expires_at.eq(DbTime::from(until)),
                    ))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn take_flow(
                &mut self,
                state: TokenHash,
                browser: TokenHash,
                now: Timestamp,
            ) -> QueryResult<Option<FlowRow>> {
                let live = oauth_flows::table
                    .find(state.0.to_vec())
                    .filter(oauth_flows::browser_hash.eq(browser.0.to_vec()))
                    .filter(oauth_flows::expires_at.gt(DbTime::from(now)));
                diesel::delete(live)
                    .returning((
                        oauth_flows::provider,
                        oauth_flows::okta_domain,
                        oauth_flows::redirect_uri,
                        oauth_flows::page_state,
                        oauth_flows::code_challenge,
                    ))
                    .get_result(self)
                    .await
                    .optional()
            }

            async fn insert_code(
                &mut self,
                code: TokenHash,
                OauthCode { code_challenge, identity }: OauthCode,
                until: Timestamp,
            ) -> QueryResult<()> {
                diesel::insert_into(oauth_codes::table)
                    .values((
                        oauth_codes::code_hash.eq(code.0.to_vec()),
                        oauth_codes::code_challenge.eq(code_challenge),
                        oauth_codes::provider.eq(identity.provider.as_str()),
                        oauth_codes::issuer.eq(identity.issuer),
                        oauth_codes::subject.eq(identity.subject),
                        oauth_codes::email.eq(identity.email.map(|email| email.as_str().to_owned())),
                        oauth_codes::full_name.eq(identity.full_name.map(|name| name.as_str().to_owned())),
                        oauth_codes::username_hint.eq(identity.username_hint),
                        oauth_codes::expires_at.eq(DbTime::from(until)),
                    ))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn take_code(&mut self, code: TokenHash, now: Timestamp) -> QueryResult<Option<CodeRow>> {
                let live = oauth_codes::table
                    .find(code.0.to_vec())
                    .filter(oauth_codes::expires_at.gt(DbTime::from(now)));
                diesel::delete(live)
                    .returning((
                        oauth_codes::code_challenge,
                        oauth_codes::provider,
                        oauth_codes::issuer,
                        oauth_codes::subject,
                        oauth_codes::email,
                        oauth_codes::full_name,
                        oauth_codes::username_hint,
                    ))
                    .get_result(self)
                    .await
                    .optional()
            }

            async fn delete_old_flows(&mut self, now: Timestamp) -> QueryResult<()> {
                let now = DbTime::from(now);
                diesel::delete(oauth_flows::table.filter(oauth_flows::expires_at.lt(now))).execute(self).await?;
                diesel::delete(oauth_codes::table.filter(oauth_codes::expires_at.lt(now))).execute(self).await?;
                let used = oauth_used_tokens::table.filter(oauth_used_tokens::expires_at.lt(now));
                diesel::delete(used).execute(self).await.map(drop)
            }
        }
    )*};
}

flow_statements!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);

async fn purge<C: FlowStatements>(conn: &mut C, now: Timestamp) -> StoreResult<()> {
    Ok(conn.delete_old_flows(now).await?)
}

impl Store {
    /// Keeps a sign-in that a browser has begun.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn begin_oauth_flow(
        &self,
        state: TokenHash,
        browser: TokenHash,
        flow: OauthFlow,
        until: Timestamp,
    ) -> StoreResult<()> {
        let pools = self.pools.clone();
        self.pools.run(async move { write!(pools, |conn| conn.insert_flow(state, browser, flow, until)) }).await
    }

    /// Takes a sign-in that this browser has begun: once.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn take_oauth_flow(
        &self,
        state: TokenHash,
        browser: TokenHash,
        now: Timestamp,
    ) -> StoreResult<Option<OauthFlow>> {
        let pools = self.pools.clone();
        let row = self.pools.run(async move { write!(pools, |conn| conn.take_flow(state, browser, now)) }).await?;
        row.map(flow_of).transpose()
    }

    /// Keeps what a page's code stands for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn keep_oauth_code(&self, code: TokenHash, stands_for: OauthCode, until: Timestamp) -> StoreResult<()> {
        let pools = self.pools.clone();
        self.pools.run(async move { write!(pools, |conn| conn.insert_code(code, stands_for, until)) }).await
    }

    /// Takes what a page's code stands for: once.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn take_oauth_code(&self, code: TokenHash, now: Timestamp) -> StoreResult<Option<OauthCode>> {
        let pools = self.pools.clone();
        let row = self.pools.run(async move { write!(pools, |conn| conn.take_code(code, now)) }).await?;
        row.map(code_of).transpose()
    }

    /// Deletes sign-ins, codes and used tokens that are too old to be accepted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn purge_oauth(&self, now: Timestamp) -> StoreResult<()> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| purge(conn, now)) }).await
    }
}
