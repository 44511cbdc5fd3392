//! Connections that others in this process keep to the file of a store.
//!
//! They are closed before the store closes its file, so that the log is folded in and nothing of the file
//! stays open.

use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;

/// Closes the connections to a file that nobody uses at the moment.
pub type Release = for<'a> fn(&'a Path) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

static RELEASE: OnceLock<Release> = OnceLock::new();

/// Says how to close what is kept open to the files of stores. Called before the first connection is kept;
/// once in a process.
pub fn release_with(release: Release) {
    RELEASE.get_or_init(|| release);
}

pub(crate) async fn release(path: Option<&Path>) {
    if let Some((release, path)) = RELEASE.get().zip(path) {
        release(path).await;
    }
}
