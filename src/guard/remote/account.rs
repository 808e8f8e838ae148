//! One token's owner, as the service last described them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use super::{Answer, Remote};
use crate::clock::{Clock, SystemClock};
use crate::domain::{AccessClaims, RoleName, SessionId, UserId};
use crate::guard::Requirement;
use crate::problem::ApiError;
use crate::verifier::{TokenError, check_times};

/// The owner of a token, with what the service said that they may.
pub(in crate::guard) struct Account {
    remote: Arc<Remote>,
    token: String,
    claims: AccessClaims,
    username: Arc<str>,
    answers: RwLock<Option<Answers>>,
    asking: tokio::sync::Mutex<()>,
}

struct Answers {
    since: Instant,
    by_question: HashMap<Requirement, bool>,
}

impl Account {
    pub(super) fn new(remote: Arc<Remote>, token: &str, claims: AccessClaims) -> Self {
        let username = claims.username.as_str().into();
        Self {
            remote,
            token: token.to_owned(),
            claims,
            username,
            answers: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    pub(in crate::guard) fn id(&self) -> UserId {
        self.claims.sub
    }

    pub(in crate::guard) fn username(&self) -> &Arc<str> {
        &self.username
    }

    pub(in crate::guard) fn session(&self) -> SessionId {
        self.claims.sid
    }

    pub(super) fn check_times(&self) -> Result<(), TokenError> {
        check_times(SystemClock.now(), self.claims.iat, self.claims.nbf, self.claims.exp)
    }

    /// Whether the service has lately said that the token is good.
    pub(super) fn is_fresh(&self) -> bool {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        answers.as_ref().is_some_and(|answers| answers.since.elapsed() < self.remote.max_age)
    }

    /// Makes sure that the service has lately said that the token is good.
    pub(super) async fn confirm(&self) -> Result<(), ApiError> {
        let begun = Instant::now();
        let _one_at_a_time = self.asking.lock().await;
        if self.is_fresh() {
            return Ok(());
        }
        self.remote.client.check_failed_since(begun)?;
        self.ask_service(&[]).await
    }

    /// The answer to a question that was asked; `None` where it was not.
    /// A principal lives no longer than its request, and keeps its answers for that long.
    pub(in crate::guard) fn holds(&self, question: &Requirement) -> Option<bool> {
        if self.remote.is_unknown(question) {
            return Some(false);
        }
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        answers.as_ref()?.by_question.get(question).copied()
    }

    /// Asks what was not asked before.
    pub(in crate::guard) async fn ask(&self, requirement: &Requirement) -> Result<(), ApiError> {
        let _one_at_a_time = self.asking.lock().await;
        let leaves = requirement.leaves();
        if leaves.iter().all(|leaf| self.holds(leaf).is_some()) {
            return Ok(());
        }
        self.ask_service(&leaves).await
    }

    async fn ask_service(&self, new: &[&Requirement]) -> Result<(), ApiError> {
        // Each round ends it, or finds another name that the service does not know.
        for _ in 0..=super::MAX_QUESTIONS {
            let mut questions = self.remote.questions(new);
            if questions.is_empty() {
                // The service takes no empty list; whether the token is good is the answer.
                questions.push(Requirement::Role(RoleName::admin()));
            }
            let since = Instant::now();
            match self.remote.client.check(&self.token, &questions).await? {
                Answer::Decided(results) => {
                    let by_question = questions.into_iter().zip(results).collect();
                    let answers = Answers { since, by_question };
                    *self.answers.write().unwrap_or_else(PoisonError::into_inner) = Some(answers);
                    return Ok(());
                }
                Answer::Refused(refusal) => {
                    self.remote.accounts.remove(self.token.as_str());
                    return Err(refusal);
                }
                Answer::Unknown(places) => self.remote.note_unknown(&questions, &places),
            }
        }
        Err(ApiError::Unavailable("the service knows none of what this app asks".into()))
    }
}
