//! One error for the whole house; its class is the retry policy.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

/// What a caller may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The world may be different in a moment: try again, with back-off.
    Retryable,
    /// The same input will fail the same way: keep it with the reason, and go on.
    Permanent,
}

impl Class {
    /// The name that Lambda reports as `errorType` and the flows match on.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Retryable => "Retryable",
            Class::Permanent => "Permanent",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure that names the thing, what was expected and what was found, and keeps its cause.
///
/// The text is lower case, without a full stop, with the thing in backticks, and never holds a secret. It prints with its
/// causes in one line, since it crosses processes as text.
#[derive(Debug, Clone)]
pub struct Error {
    class: Class,
    message: String,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Errors are equal that say the same and mean the same.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.class == other.class && self.to_string() == other.to_string()
    }
}

impl Eq for Error {}

/// A result whose error has a [`Class`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Error { class, message: message.into(), cause: None }
    }

    /// An error that a later attempt may not meet.
    pub fn retryable(message: impl Into<String>) -> Self {
        Error::new(Class::Retryable, message)
    }

    /// An error that every attempt will meet.
    pub fn permanent(message: impl Into<String>) -> Self {
        Error::new(Class::Permanent, message)
    }

    /// Says in front what was being handled: `sky map `fit/x`: column 2 is …`.
    #[must_use]
    pub fn of(mut self, thing: impl fmt::Display) -> Self {
        self.message = format!("{thing}: {}", self.message);
        self
    }

    /// The same with its cause, which prints behind it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Whether to try again.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether a later attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        self.class == Class::Retryable
    }
}

/// Turns another library's error into ours: its cause, behind what failed.
pub trait Context<T> {
    /// A permanent error: `{what}: {cause}`.
    ///
    /// # Errors
    /// The cause in its context.
    fn permanent(self, what: impl fmt::Display) -> Result<T>;

    /// A retryable error: `{what}: {cause}`.
    ///
    /// # Errors
    /// The cause in its context.
    fn retryable(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn permanent(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Error::permanent(what.to_string()).caused_by(cause))
    }

    fn retryable(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Error::retryable(what.to_string()).caused_by(cause))
    }
}

/// Turns a panic into a permanent error, because retrying would panic again.
///
/// # Errors
/// The work's own; Permanent, with what the panic said.
pub async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Error::permanent(format!("panic: {}", said.unwrap_or("without a message"))))
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_keeps_its_cause_and_prints_it_behind_its_context() {
        let parsed = "x".parse::<u8>();
        let cause = parsed.clone().expect_err("no number").to_string();
        let error = parsed.permanent("offset").expect_err("no number").of("message 7");
        assert_eq!(error.to_string(), format!("message 7: offset: {cause}"));
        assert_eq!(error.class(), Class::Permanent);
        let source = error.source().expect("a cause");
        assert!(source.downcast_ref::<std::num::ParseIntError>().is_some());
        assert_eq!(error, Error::permanent(error.to_string()));
        assert_ne!(error, Error::retryable(error.to_string()));
    }
}
