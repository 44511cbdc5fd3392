//! cloacina-macros
