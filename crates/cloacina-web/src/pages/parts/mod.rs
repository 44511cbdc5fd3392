//! What pages are made of.

pub(crate) mod dialog;
pub(crate) mod say;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod url;
