//! Why there is no cluster.

use std::fmt;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a cluster or a database could not be had.
///
/// A test can only report it, so there are no kinds to tell apart. Unlike elsewhere, `Display` tells the
/// whole chain: what a failed test prints is all that one sees of it.
pub struct ClusterError {
    doing: &'static str,
    source: Source,
    hint: Option<String>,
}

impl ClusterError {
    pub(super) fn new(doing: &'static str, source: impl Into<Source>) -> Self {
        Self { doing, source: source.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match &self.hint {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

// `expect` and `unwrap` print this one.
impl fmt::Debug for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ClusterError {}
