//! cloacina-core
