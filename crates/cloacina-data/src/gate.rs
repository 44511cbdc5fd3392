//! The first line: every statement is parsed, refused unless it is understood, and rewritten so that it sees the rows of one tenant.
