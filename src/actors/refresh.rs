//! Rotation of refresh tokens, with detection of their reuse (RFC 9700 §4.14.2).
//!
//! A successor is computed, not stored, and one statement decides who rotates:
//! who loses that race computes the same successor. A validly signed token that
//! is neither the present one nor its parent within the grace is an ancestor:
//! somebody uses what has been used, and the session ends.

use secrecy::SecretString;

use super::keys::{hash_token, is_same};
use super::{ServiceError, ServiceResult, TokenError, TokenPair, Tokens};
use crate::domain::{RefreshClaims, Rotation, SessionEnd, Timestamp, TokenHash, UserId};
use crate::verifier::check_times;

/// Losing the race once is common, twice takes a third request of the next generation.
const MAX_ROUNDS: usize = 4;

impl Tokens {
    /// The next pair for a refresh token, and whose it is.
    ///
    /// # Errors
    /// The token is refused; `TokenReuse`: it was used before, and its session has been ended.
    pub async fn refresh(&self, presented: &str) -> ServiceResult<(TokenPair, UserId, std::sync::Arc<str>)> {
        let claims = self.inner.keys.verify_refresh(presented)?;
        check_times(self.inner.clock.now(), claims.iat, None, claims.exp)?;
        let presented = hash_token(presented);
        for _ in 0..MAX_ROUNDS {
            let rotation = match self.inner.store.find_rotation(claims.sid).await? {
                Some(rotation) if rotation.user_id == claims.sub && rotation.now < rotation.expires_at => rotation,
                _ => return Err(TokenError::Revoked.into()),
            };
            if is_same(presented, rotation.current) {
                let successor = self.successor(&claims, presented, rotation.now, &rotation)?;
                let is_ours = self
                    .inner
                    .store
                    .rotate_session(claims.sid, presented, hash_token(&successor), rotation.now)
                    .await?;
                if is_ours {
                    return self.answer(&claims, successor, &rotation).await;
                }
                // Somebody was faster: look again at what stands there now.
            } else {
                let successor = self.successor_within_grace(&claims, presented, &rotation)?;
                return match successor {
                    Some(successor) => self.answer(&claims, successor, &rotation).await,
                    None => Err(self.end_reused(&claims).await?),
                };
            }
        }
        Err(ServiceError::Unavailable("a refresh token is being rotated too often at once".into()))
    }

    /// Whose session a refresh token belongs to, if it is one of ours, expired or not.
    ///
    /// # Errors
    /// The token is not ours.
    pub fn read_refresh(&self, token: &SecretString) -> Result<RefreshClaims, TokenError> {
        use secrecy::ExposeSecret;
        self.inner.keys.verify_refresh(token.expose_secret())
    }

    fn successor(
        &self,
        claims: &RefreshClaims,
        parent: TokenHash,
        rotated_at: Timestamp,
        rotation: &Rotation,
    ) -> ServiceResult<String> {
        let id = self.inner.keys.successor_id(parent);
        self.refresh_token(claims.sub, claims.sid, id, rotated_at, rotation.expires_at)
    }

    /// The successor that the direct parent already has, while the grace lasts by
    /// the database's clock.
    fn successor_within_grace(
        &self,
        claims: &RefreshClaims,
        presented: TokenHash,
        rotation: &Rotation,
    ) -> ServiceResult<Option<String>> {
        let (Some(previous), Some(rotated_at)) = (rotation.previous, rotation.rotated_at) else { return Ok(None) };
        let is_in_grace = rotation.now < rotated_at.plus(self.inner.settings.reuse_grace);
        if !is_same(presented, previous) || !is_in_grace {
            return Ok(None);
        }
        let successor = self.successor(claims, presented, rotated_at, rotation)?;
        if is_same(hash_token(&successor), rotation.current) {
            Ok(Some(successor))
        } else {
            // Made with another key or other lifetimes: not to be had again, but no reuse either.
            Err(TokenError::Revoked.into())
        }
    }

    async fn answer(
        &self,
        claims: &RefreshClaims,
        successor: String,
        rotation: &Rotation,
    ) -> ServiceResult<(TokenPair, UserId, std::sync::Arc<str>)> {
        let user = self.find_user(claims.sub).await?.filter(|user| user.is_active).ok_or(TokenError::Revoked)?;
        let now = self.inner.clock.now();
        let pair = self.pair(user.id, &user.username, claims.sid, successor, now, rotation.expires_at)?;
        Ok((pair, user.id, std::sync::Arc::clone(&user.username)))
    }

    async fn end_reused(&self, claims: &RefreshClaims) -> ServiceResult<ServiceError> {
        log::warn!("refresh token reuse: session {} of user {} ends", claims.sid, claims.sub);
        self.end_sessions(claims.sub, SessionEnd::One(claims.sid)).await?;
        Ok(ServiceError::TokenReuse { user_id: claims.sub, session_id: claims.sid })
    }
}
