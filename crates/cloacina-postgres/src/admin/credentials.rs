//! Who a tenant is to the database: names, passwords, and what is handed out.

use std::fmt;
use std::str::FromStr;

use super::{AdminError, AdminErrorKind};
use crate::schema::SchemaName;

/// A tenant to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct TenantConfig {
    /// The schema: 1 to 63 ASCII letters, digits and underscores, kept exactly as given. See
    /// [`SchemaName`](crate::SchemaName) for the names that are refused.
    pub schema_name: String,
    /// The login: 1 to 60 ASCII letters, digits and underscores. Logins are shared by all databases of a
    /// server.
    pub username: String,
    /// The password: 8 to 512 bytes without NUL, used as it is. Empty: 32 characters are drawn, 209 bits.
    pub password: String,
}

impl fmt::Debug for TenantConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantConfig")
            .field("schema_name", &self.schema_name)
            .field("username", &self.username)
            .field("password", &"***")
            .finish()
    }
}

/// What a tenant needs to log in. It is kept nowhere: hand it to a store of secrets. A lost password is
/// replaced by [`rotate_credentials`](super::DatabaseAdmin::rotate_credentials).
#[derive(Clone, PartialEq, Eq)]
pub struct TenantCredentials {
    /// The login.
    pub username: String,
    /// Its password, in the clear.
    pub password: String,
    /// The tenant's schema.
    pub schema_name: String,
    /// The URL for `Runner::new`, with everything percent-encoded and all of the
    /// administrator's connection parameters.
    pub connection_string: String,
}

impl fmt::Debug for TenantCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCredentials")
            .field("username", &self.username)
            .field("password", &"***")
            .field("schema_name", &self.schema_name)
            .field("connection_string", &"***")
            .finish()
    }
}

/// The longest name of a login: two suffixes of three bytes are ours.
const LOGIN_LENGTH: usize = 60;

/// The name of a tenant's login. With its group and its second login for rotations, the only names of roles
/// that we make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginName(String);

impl LoginName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The role without a login that holds the grants.
    pub(crate) fn group(&self) -> String {
        format!("{}__g", self.0)
    }

    /// The login that takes turns with the first one when credentials are rotated.
    pub(crate) fn second(&self) -> String {
        format!("{}__2", self.0)
    }
}

impl FromStr for LoginName {
    type Err = AdminError;

    fn from_str(name: &str) -> Result<Self, AdminError> {
        let refuse = |why: &str| {
            let message = format!("{name:?} cannot be the login of a tenant: {why}");
            Err(AdminError::new(AdminErrorKind::Configuration, message))
        };
        if name.is_empty() || name.len() > LOGIN_LENGTH {
            return refuse("it must have 1 to 60 characters");
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return refuse("only ASCII letters, digits and underscores are allowed");
        }
        let folded = name.to_ascii_lowercase();
        if folded.starts_with("pg_") || folded.starts_with("cloacina") {
            return refuse("names that begin with `pg_` or `cloacina` are taken");
        }
        if matches!(folded.as_str(), "public" | "none" | "postgres") {
            return refuse("it has a meaning of its own");
        }
        Ok(Self(name.to_owned()))
    }
}

/// A schema from an administrator's call.
pub(crate) fn schema_name(name: &str) -> Result<SchemaName, AdminError> {
    let schema: SchemaName = name.parse()?;
    if schema.as_str().eq_ignore_ascii_case("public") {
        let message = "\"public\" cannot be the schema of a tenant: other programs use it";
        return Err(AdminError::new(AdminErrorKind::Configuration, message));
    }
    Ok(schema)
}

/// What the operator calls a tenant that has no schema of its own in this database.
pub(crate) fn tenant_name(name: &str) -> Result<String, AdminError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if plain && (1..=63).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    let message = format!(
        "{name:?} cannot be the name of a tenant: use 1 to 63 ASCII letters, digits, hyphens and underscores"
    );
    Err(AdminError::new(AdminErrorKind::Configuration, message))
}

/// The password that was given, or one that is drawn.
pub(crate) fn password(given: String) -> Result<String, AdminError> {
    let refuse =
        |why: &str| Err(AdminError::new(AdminErrorKind::Configuration, format!("the password {why}")));
    if given.is_empty() {
        return draw_password();
    }
    if given.contains('\0') {
        return refuse("contains the character \\0, which PostgreSQL cannot keep");
    }
    if given.len() < 8 {
        return refuse("is shorter than 8 bytes; leave it empty to have one drawn");
    }
    if given.len() > 512 {
        return refuse("is longer than 512 bytes");
    }
    Ok(given)
}

/// 32 of the 94 printable ASCII characters: 32 × log2(94) = 209.7 bits.
fn draw_password() -> Result<String, AdminError> {
    let mut password = String::with_capacity(32);
    while password.len() < 32 {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(|error| {
            let message = format!("the operating system gives no random bytes: {error}");
            AdminError::new(AdminErrorKind::Internal, message)
        })?;
        // 188 is twice 94: what lies above it would make some characters likelier than others.
        let characters = bytes.iter().filter(|byte| **byte < 188).map(|byte| char::from(b'!' + byte % 94));
        password.extend(characters.take(32 - password.len()));
    }
    Ok(password)
}

/// What the server keeps instead of the password: a SCRAM-SHA-256 verifier (RFC 5803), computed here.
pub(crate) fn verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_password_has_32_of_all_94_printable_characters() {
        let mut seen = [false; 256];
        for _ in 0..400 {
            let password = password(String::new()).unwrap();
            assert_eq!(password.len(), 32);
            password.bytes().for_each(|byte| seen[usize::from(byte)] = true);
        }
        let drawn: Vec<u8> = (0..=255).filter(|byte| seen[usize::from(*byte)]).collect();
        assert_eq!(drawn, (b'!'..=b'~').collect::<Vec<_>>());
    }

    #[test]
    fn a_given_password_is_used_as_it_is_or_refused() {
        for given in ["8 bytes!", "Ünïcödé ☃ 'quote' \"double\" $$ \\", &"x".repeat(512)] {
            assert_eq!(password(given.to_owned()).unwrap(), given);
        }
        for given in ["sesame7", "with\0nul1", &"x".repeat(513)] {
            let error = password(given.to_owned()).unwrap_err();
            assert_eq!(error.kind(), AdminErrorKind::Configuration);
            assert!(!format!("{error} {error:?}").contains(given), "{error}");
        }
    }

    #[test]
    fn a_name_that_is_no_logins_is_refused() {
        for name in ["acme_user", "A", "0", &"x".repeat(60)] {
            assert_eq!(name.parse::<LoginName>().unwrap().as_str(), name);
        }
        let long = "x".repeat(61);
        for name in [
            "",
            &long,
            "a b",
            "a;DROP",
            "a\"b",
            "ü",
            "pg_x",
            "PG_x",
            "cloacina_owner",
            "public",
            "None",
            "a\0",
            "../b",
        ] {
            assert_eq!(
                name.parse::<LoginName>().unwrap_err().kind(),
                AdminErrorKind::Configuration,
                "{name:?}"
            );
        }
    }

    #[test]
    fn no_debug_output_shows_a_password() {
        let config = TenantConfig {
            schema_name: "acme".into(),
            username: "acme_user".into(),
            password: "open sesame".into(),
        };
        let credentials = TenantCredentials {
            username: "acme_user".into(),
            password: "open sesame".into(),
            schema_name: "acme".into(),
            connection_string: "postgresql://acme_user:open%20sesame@localhost/db".into(),
        };
        let text = format!("{config:?} {config:#?} {credentials:?} {credentials:#?}");
        assert!(text.contains("acme_user") && !text.contains("sesame"), "{text}");
    }
}
