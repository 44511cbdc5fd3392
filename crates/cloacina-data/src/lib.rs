//! A tenant's own data: what its tasks read and write, reachable only in a transaction that belongs to that tenant.

#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "nothing sends what the gate admits yet"))]
mod gate;

pub use gate::Refusal;
