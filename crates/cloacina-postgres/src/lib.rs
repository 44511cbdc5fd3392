//! cloacina-postgres
