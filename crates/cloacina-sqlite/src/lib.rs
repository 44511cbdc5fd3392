//! cloacina-sqlite
