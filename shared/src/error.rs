//! One error for the whole house; its class is the retry policy.

use std::fmt;
use std::panic::AssertUnwindSafe;

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

/// A failure that names the thing, what was expected and what was found.
///
/// The text is lower case, without a full stop, with the thing in backticks, and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    class: Class,
    message: String,
}

/// A result whose error has a [`Class`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Error { class, message: message.into() }
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

    /// Whether to try again.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether a later attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        self.class == Class::Retryable
    }
}

/// A panic is an answer and not a dead process: what caused it would cause it again.
///
/// # Errors
/// The work's own; Permanent, with what the panic said.
pub async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Error::permanent(format!("panic: {}", said.unwrap_or("without a message"))))
    })
}
