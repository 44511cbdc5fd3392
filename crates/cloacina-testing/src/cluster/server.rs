//! Where a server is, who may log in, and databases on it.

use super::ClusterError;
#[cfg(feature = "engine")]
use super::{over, secret::secret};

/// A PostgreSQL server and the superuser's login.
#[derive(Debug, Clone)]
pub struct Server {
    host: String,
    port: u16,
    user: String,
    password: String,
    /// What follows the database's name in a URL, with its `?`; empty for a server of our own.
    options: String,
}

impl Server {
    pub(super) fn new(host: &str, port: u16, user: &str, password: &str) -> Self {
        Self {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            password: password.to_owned(),
            options: String::new(),
        }
    }

    /// Reads `postgres://user:password@host:port/database?options`; only the database's name is left aside.
    pub(super) fn from_url(url: &str) -> Result<Self, ClusterError> {
        Self::parse(url).ok_or_else(|| {
            // Without the URL itself: it holds a password.
            let doing = "failed to read CLOACINA_TEST_PG_URL";
            ClusterError::new(doing, "it is not of the form postgres://user:password@host:port/database")
        })
    }

    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))?;
        let (rest, options) = match rest.find('?') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let authority = rest.split('/').next()?;
        let (login, address) = authority.rsplit_once('@')?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match address.rsplit_once(':') {
            // The colons of an IPv6 address stand inside its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (address, 5432),
        };
        Some(Self {
            host: (!host.is_empty()).then(|| host.to_owned())?,
            port,
            user: decode(user)?,
            password: decode(password)?,
            options: options.to_owned(),
        })
    }

    pub(super) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database for a user.
    #[must_use]
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        let Self { host, port, options, .. } = self;
        let (user, password, database) = (encode(user), encode(password), encode(database));
        format!("postgres://{user}:{password}@{host}:{port}/{database}{options}")
    }

    /// The URL of a database for the superuser. `postgres` is always there.
    #[must_use]
    pub fn superuser_url(&self, database: &str) -> String {
        self.url(&self.user, &self.password, database)
    }

    /// The superuser's URL of the database that `url` leads to, as when a test has to make a role in a
    /// database it has from [`fresh_database`](Self::fresh_database).
    #[must_use]
    pub fn superuser_url_of(&self, url: &str) -> String {
        let without_options = url.split('?').next().unwrap_or(url);
        let database = without_options.rsplit('/').next().and_then(decode).unwrap_or_default();
        self.superuser_url(&database)
    }
}

#[cfg(feature = "engine")]
impl Server {
    /// Makes a login without any privilege and an empty database that it owns, and returns that login's URL.
    ///
    /// User and database have one name, which no other has. The database goes some time after the test that
    /// made it has ended, else with the cluster.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn fresh_database(&self) -> Result<String, ClusterError> {
        let doing = "failed to make a database";
        let name = format!("test_{}", &secret()?[..16]);
        let password = secret()?;
        let url = self.superuser_url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .map_err(|e| ClusterError::new(doing, e))?;
        let connection = tokio::spawn(connection);
        // Both are hexadecimal, there is nothing to quote. A database cannot be made inside a transaction,
        // hence two statements; from template0, because template1 cannot be copied while somebody is
        // connected to it.
        for statement in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0"),
        ] {
            client.batch_execute(&statement).await.map_err(|e| ClusterError::new(doing, e))?;
        }
        over::drop_after_the_test(url, &name);
        drop(client);
        connection
            .await
            .map_err(|e| ClusterError::new(doing, e))?
            .map_err(|e| ClusterError::new(doing, e))?;
        Ok(self.url(&name, &password, &name))
    }

    /// Makes another login without any privilege for the database of a URL, and returns its URL.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn ordinary_login(&self, url: &str) -> Result<String, ClusterError> {
        let doing = "failed to make a login";
        let (name, password) = (format!("login_{}", &secret()?[..16]), secret()?);
        let (client, connection) =
            tokio_postgres::connect(&self.superuser_url("postgres"), tokio_postgres::NoTls)
                .await
                .map_err(|e| ClusterError::new(doing, e))?;
        let connection = tokio::spawn(connection);
        client
            .batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
            .await
            .map_err(|e| ClusterError::new(doing, e))?;
        drop(client);
        connection
            .await
            .map_err(|e| ClusterError::new(doing, e))?
            .map_err(|e| ClusterError::new(doing, e))?;
        Ok(self.url(&name, &password, url.rsplit('/').next().unwrap_or_default()))
    }

    /// Makes the login of a URL from [`fresh_database`](Self::fresh_database) an administrator of tenants: it
    /// may make roles and databases, and give the five that all databases of the server share, whoever made
    /// them.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn make_administrator(&self, url: &str) -> Result<(), ClusterError> {
        let doing = "failed to make an administrator";
        let (client, connection) =
            tokio_postgres::connect(&self.superuser_url_of(url), tokio_postgres::NoTls)
                .await
                .map_err(|e| ClusterError::new(doing, e))?;
        let connection = tokio::spawn(connection);
        // Tests make the roles side by side, hence the lock, which no tenant's login is there to take; those
        // of another database do not see it.
        let text = "SELECT pg_advisory_xact_lock(7); \
            DO $$ DECLARE role text; admin text := pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database(); \
            BEGIN FOREACH role IN ARRAY ARRAY['cloacina_owner', 'cloacina_engine', 'cloacina_tenant', 'cloacina_app', \
                'cloacina_reader'] LOOP \
              IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN \
                BEGIN EXECUTE format('CREATE ROLE %I NOLOGIN', role); EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END; END IF; \
              EXECUTE format('GRANT %I TO %I WITH ADMIN OPTION', role, admin); \
            END LOOP; EXECUTE format('ALTER ROLE %I CREATEROLE CREATEDB', admin); END $$";
        client
            .batch_execute(&format!("BEGIN; {text}; COMMIT"))
            .await
            .map_err(|e| ClusterError::new(doing, e))?;
        drop(client);
        connection
            .await
            .map_err(|e| ClusterError::new(doing, e))?
            .map_err(|e| ClusterError::new(doing, e))?;
        Ok(())
    }
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written_back() {
        for url in [
            "postgres://root:p%40ss%3A%2F@127.0.0.1:5433/postgres",
            "postgres://root:secret@[::1]:5433/postgres?sslmode=disable",
        ] {
            assert_eq!(Server::parse(url).unwrap().superuser_url("postgres"), url);
        }
    }

    #[test]
    fn a_url_without_a_port_means_the_usual_one() {
        assert_eq!(Server::parse("postgresql://root:secret@db").unwrap().port(), 5432);
        assert_eq!(Server::parse("postgres://root:secret@[::1]/x").unwrap().port(), 5432);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["", "db:5432", "mysql://a:b@c/d", "postgres://db/x", "postgres://a:b@db:port/x"] {
            assert!(Server::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn the_superuser_finds_the_database_of_a_url() {
        let server = Server::new("127.0.0.1", 5433, "root", "secret");
        let url = server.url("alice", "pw", "her database");
        assert_eq!(server.superuser_url_of(&url), "postgres://root:secret@127.0.0.1:5433/her%20database");
    }
}
