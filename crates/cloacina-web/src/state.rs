//! What requests share.

use std::fmt;
use std::sync::Arc;

use crate::Authorize;
use crate::engine::Engine;
use crate::kept::Kept;
use crate::tail::Tails;

/// What every handler is given.
pub(crate) struct Web {
    pub(crate) engine: Engine,
    pub(crate) authorize: Box<dyn Authorize>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) kept: Kept,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("engine", &self.engine).finish_non_exhaustive()
    }
}
