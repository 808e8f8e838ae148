//! What is wrong with the configuration, in one line.

/// One variable that can't be used, and what to do about it. Never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    /// The variable.
    pub variable: String,
    /// What is wrong, and the mend.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(variable: &str, problem: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), problem: problem.into() }
    }
}
