//! What lets a transaction of the application's login be a tenant's: a token that the operator signs.
//!
//! The key is the database's own and stays in it, but for the operator, who may read it. A token is
//! HMAC-SHA-256 (RFC 2104) over the tenant, the login, the second until which it is good, and a secret of the
//! sessions that may use it.

use std::fmt::Write as _;
use std::time::Instant;

use cloacina_core::store::Place;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

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

    /// What lets a transaction of the login be the tenant's, in a session that has this secret.
    pub(crate) fn token(&self, tenant: Uuid, login: &str, secret: &str) -> Token {
        let (then, at) = self.read_at;
        let until =
            then + i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX - then - GOOD_FOR) + GOOD_FOR;
        // The length tells where the login ends: what follows it is a setting, in which any SQL can write
        // what it likes.
        let length = login.chars().count();
        let code = self.sign(&format!("enter {tenant} {until} {length} {login} {secret}"));
        Token { key: self.id, until, code }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let inner = Sha256::new().chain_update(&self.inner_pad).chain_update(message).finalize();
        Sha256::new().chain_update(&self.outer_pad).chain_update(inner).finalize().to_vec()
    }
}

pub(crate) struct Token {
    key: i32,
    until: i64,
    code: Vec<u8>,
}

impl Token {
    /// The statement that makes the transaction the tenant's, in the message that begins it. Others of the
    /// login may see the text.
    pub(crate) fn text(&self, place: &Place) -> String {
        let Self { key, until, code } = self;
        let code = code.iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        });
        let (tenant, epoch) = (Uuid::from(place.tenant), place.epoch);
        format!("SELECT cloacina.enter('{tenant}', {epoch}, {key}, {until}, decode('{code}', 'hex'))")
    }

    /// The same as a statement of its own, in whose text it is not.
    pub(crate) async fn enter(&self, connection: &mut PgConnection, place: &Place) -> sqlx::Result<()> {
        sqlx::query("SELECT cloacina.enter($1, $2, $3, $4, $5)")
            .bind(Uuid::from(place.tenant))
            .bind(place.epoch)
            .bind(self.key)
            .bind(self.until)
            .bind(&self.code)
            .persistent(false)
            .execute(connection)
            .await?;
        Ok(())
    }
}
