//! What lets a transaction of the application's login be a tenant's: a token that the operator signs.
//!
//! The key is the database's own and stays in it, but for the operator, who may read it. A token is HMAC-SHA-256 (RFC 2104) over the tenant, the login
//! and the second until which it is good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

/// How long a token is good: longer than it takes to send it, even to a database that is busy.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// The key under the two pads of HMAC.
pub(crate) struct Key {
    id: i32,
    inner_pad: Vec<u8>,
    outer_pad: Vec<u8>,
}

impl Key {
    /// The latest key of a database, for a login that may read it.
    pub(crate) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let (id, inner_pad, outer_pad) =
            sqlx::query_as("SELECT id, inner_pad, outer_pad FROM cloacina.data_key ORDER BY id DESC LIMIT 1")
                .fetch_one(connection)
                .await?;
        Ok(Self { id, inner_pad, outer_pad })
    }

    /// Makes the open transaction the tenant's.
    pub(crate) async fn enter(
        &self,
        connection: &mut PgConnection,
        tenant: Uuid,
        login: &str,
    ) -> sqlx::Result<()> {
        let until = SystemTime::now() + GOOD_FOR;
        let until = until.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let until = i64::try_from(until).unwrap_or(i64::MAX);
        sqlx::query("SELECT cloacina.enter($1, $2, $3, $4)")
            .bind(tenant)
            .bind(self.id)
            .bind(until)
            .bind(self.sign(&format!("enter {tenant} {login} {until}")))
            .execute(connection)
            .await?;
        Ok(())
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let inner = Sha256::new().chain_update(&self.inner_pad).chain_update(message).finalize();
        Sha256::new().chain_update(&self.outer_pad).chain_update(inner).finalize().to_vec()
    }
}
