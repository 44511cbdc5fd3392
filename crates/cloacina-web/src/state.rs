//! What requests share.

use std::fmt;

use crate::Authorize;
use crate::engine::Engine;

/// What every handler is given.
pub(crate) struct Web {
    pub(crate) engine: Engine,
    pub(crate) authorize: Box<dyn Authorize>,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("engine", &self.engine).finish_non_exhaustive()
    }
}
