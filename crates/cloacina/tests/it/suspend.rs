//! What the operator decides about a tenant while it works.
