//! cloacina
