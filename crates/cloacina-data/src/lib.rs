//! A tenant's own data: what its tasks read and write, reachable only in a transaction that belongs to that tenant.

mod gate;
