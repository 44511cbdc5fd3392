//! cloacina-testing
