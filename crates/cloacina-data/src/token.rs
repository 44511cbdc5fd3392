//! What lets a transaction of the application's login be a tenant's: a token that the operator signs.
//!
//! The key is the database's own and stays in it, but for the operator, who may read it. A token is HMAC-SHA-256 (RFC 2104) over the tenant, the login
//! and the second until which it is good.

use std::time::Instant;

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::Open;

/// How many seconds a token is good: longer than it takes to send it, even to a database that is busy.
const GOOD_FOR: i64 = 30;

/// The key under the two pads of HMAC.
pub(crate) struct Key {
    id: i32,
    inner_pad: Vec<u8>,
    outer_pad: Vec<u8>,
    /// The database's time in seconds, when it was read. Its clock counts, not ours.
    read_at: (i64, Instant),
}

impl Key {
    /// The latest key of a database, for a login that may read it.
    pub(crate) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let (id, inner_pad, outer_pad, now) = sqlx::query_as(
            "SELECT id, inner_pad, outer_pad, extract(epoch FROM clock_timestamp())::bigint \
             FROM cloacina.data_key ORDER BY id DESC LIMIT 1",
        )
        // Once in a process.
        .persistent(false)
        .fetch_one(connection)
        .await?;
        Ok(Self { id, inner_pad, outer_pad, read_at: (now, Instant::now()) })
    }

    /// Makes the open transaction the tenant's.
    pub(crate) async fn enter(&self, open: &mut Open, tenant: Uuid, login: &str) -> sqlx::Result<()> {
        let (then, at) = self.read_at;
        let until =
            then + i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX - then - GOOD_FOR) + GOOD_FOR;
        sqlx::query("SELECT cloacina.enter($1, $2, $3, $4)")
            .bind(tenant)
            .bind(self.id)
            .bind(until)
            .bind(self.sign(&format!("enter {tenant} {login} {until}")))
            .persistent(open.keeps_statements())
            .execute(open.driver())
            .await?;
        Ok(())
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let inner = Sha256::new().chain_update(&self.inner_pad).chain_update(message).finalize();
        Sha256::new().chain_update(&self.outer_pad).chain_update(inner).finalize().to_vec()
    }
}
