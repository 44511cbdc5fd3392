//! What the tests of the workspace share.

pub mod browser;
pub mod cluster;
mod program;

#[cfg(feature = "engine")]
pub mod clock;
#[cfg(feature = "engine")]
pub mod conformance;
#[cfg(feature = "engine")]
pub mod faulty;
#[cfg(feature = "engine")]
pub mod memory;
#[cfg(feature = "engine")]
pub mod pooler;
#[cfg(feature = "engine")]
pub mod proxy;
#[cfg(feature = "engine")]
pub mod rollout;
