//! Which database a URL means.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloacina_core::meant::meant;
use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TlsMode {
    /// In the clear.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted, with whoever answers.
    Require,
    /// Encrypted, with a server whose certificate a known authority signed.
    VerifyCa,
    /// And whose certificate is for the name that was asked for.
    VerifyFull,
}

/// A database that a URL points to: its hosts, ports and name, the login and how the connection is protected.
///
/// Two URLs that mean the same database are equal, however they are written and whatever password they hold,
/// so that a process keeps one [`PostgresStore`](crate::PostgresStore) for both.
#[derive(Clone)]
pub struct PostgresAddress {
    pub(crate) config: Config,
    pub(crate) tls: TlsMode,
    pub(crate) root_certificates: Option<PathBuf>,
    /// Whether a pooler in transaction mode stands before the server.
    pub(crate) pooled: bool,
    /// How the server itself is reached, where the hosts are those of a pooler and it was said.
    direct: Option<Config>,
    key: Key,
    label: String,
    /// The URL without its login: hosts with ports, and what follows them.
    hosts: String,
    rest: String,
}

/// The parts of an address, for a driver that is not ours. The password is among them: show them nowhere.
pub struct AddressParts<'a> {
    /// Hosts and ports, in the order in which they are tried. A path is the directory of a Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// The password, if the login has one.
    pub password: Option<&'a str>,
    /// `disable`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub ssl_mode: &'static str,
    /// A file with the authorities to be trusted, instead of the system's.
    pub root_certificates: Option<&'a Path>,
    /// Whether a pooler in transaction mode is between: no prepared statement survives there.
    pub pooled: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    hosts: Vec<String>,
    ports: Vec<u16>,
    database: String,
    user: String,
    tls: TlsMode,
    root_certificates: Option<PathBuf>,
    pooled: bool,
}

impl PostgresAddress {
    /// Reads a URL: `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// Beside what PostgreSQL's own clients call `disable`, `prefer` and `require`, `sslmode` may be
    /// `verify-ca` and `verify-full`; they use the authorities in the file that `sslrootcert` names, or those
    /// of the system. With `sslrootcert`, `require` means `verify-ca`, as it does to PostgreSQL's clients.
    /// Without `sslmode`, a host that is not this machine is asked for `require`.
    ///
    /// `pooler=transaction` says that a pooler in transaction mode (pgbouncer) stands before the server. No
    /// statement is prepared then; each costs its planning, and each transaction a round trip more, as behind
    /// a pooler of any mode. LISTEN needs a session of its own: `direct=host:port` says where the server
    /// itself is reached, with the same login; without it, work of other processes is found by looking once a
    /// second.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] for a URL that cannot be read. The message never holds the URL.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(|| wrong("a PostgreSQL URL begins with `postgres://` or `postgresql://`"))?;
        let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
        check_escapes(before_query, query)?;

        let mut tls = None;
        let mut root_certificates = None;
        let (mut pooled, mut direct) = (false, None);
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => tls = Some(parse_tls(mode)?),
                Some(("sslrootcert", "system")) => root_certificates = None,
                Some(("sslrootcert", path)) => root_certificates = Some(PathBuf::from(decode(path)?)),
                Some(("pooler", "transaction")) => pooled = true,
                Some(("pooler", "session")) => pooled = false,
                Some(("pooler", _)) => {
                    return Err(wrong("`pooler` in the PostgreSQL URL must be transaction or session"));
                }
                Some(("direct", at)) => direct = Some(decode(at)?),
                Some((name, _)) if DRIVERS.contains(&name) => others.push(parameter),
                _ => return Err(unknown_parameter(parameter)),
            }
        }
        let scheme = &url[..url.len() - rest.len()];
        let plain = format!("{scheme}{before_query}?{}", others.join("&"));
        let mut config: Config = plain.parse().map_err(|_: tokio_postgres::Error| {
            // The parser's error may quote a part of the URL.
            wrong("the PostgreSQL URL cannot be read: check the host, that the port is a number, and the values of the parameters")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("the PostgreSQL URL names no host"));
        }

        let local = is_local(&config);
        let tls = match tls.unwrap_or(if local { TlsMode::Prefer } else { TlsMode::Require }) {
            TlsMode::Require if root_certificates.is_some() => TlsMode::VerifyCa,
            tls => tls,
        };
        config.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        config.application_name("cloacina");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        // A peer that vanished is noticed within half a minute, not within the two hours of the system's
        // default.
        config.keepalives_idle(Duration::from_secs(15));
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(30));
        }

        let direct = direct.filter(|_| pooled).map(|at| directly(&config, &at)).transpose()?;
        let key = Key::of(&config, tls, root_certificates.clone(), pooled);
        let label = key.label();
        let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts).to_owned();
        let rest = Self::rest(path, query, key.database.as_str());
        Ok(Self { config, tls, root_certificates, pooled, direct, key, label, hosts, rest })
    }

    /// Path and parameters for a URL with another login: without this one's name, and with the name of the
    /// database even where it was left to be that of the login.
    fn rest(path: &str, query: &str, database: &str) -> String {
        let parameters: Vec<&str> = query
            .split('&')
            .filter(|parameter| {
                let name = parameter.split_once('=').map_or(*parameter, |(name, _)| name);
                !matches!(name, "" | "user" | "password" | "passfile")
            })
            .collect();
        let path = if path.is_empty() && !parameters.iter().any(|parameter| parameter.starts_with("dbname="))
        {
            encoded(database)
        } else {
            path.to_owned()
        };
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("/{path}{mark}{}", parameters.join("&"))
    }

    /// The URL of the same database for another login.
    pub(crate) fn url_for(&self, user: &str, password: &str) -> String {
        format!("postgresql://{}:{}@{}{}", encoded(user), encoded(password), self.hosts, self.rest)
    }

    /// How a session of its own is had, if it can be.
    pub(crate) fn session(&self) -> Option<Self> {
        if !self.pooled {
            return Some(self.clone());
        }
        let config = self.direct.clone()?;
        Some(Self { config, pooled: false, ..self.clone() })
    }

    /// `host:port/database`, for messages.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The login.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.key.user
    }

    /// The name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.key.database
    }

    /// The same database for another login.
    ///
    /// # Errors
    ///
    /// It cannot be written as a URL.
    pub fn with_login(&self, user: &str, password: &str) -> Result<Self> {
        Self::parse(&self.url_for(user, password))
    }

    /// Another database of the same server, for the same login.
    ///
    /// # Errors
    ///
    /// None for a name that a database can have.
    pub fn with_database(&self, database: &str) -> Result<Self> {
        let query = self.rest.split_once('?').map_or("", |(_, query)| query);
        let parameters: Vec<&str> =
            query.split('&').filter(|parameter| !parameter.starts_with("dbname=")).collect();
        let password = match self.parts().password {
            Some(password) => format!(":{}", encoded(password)),
            None => String::new(),
        };
        Self::parse(&format!(
            "postgresql://{}{password}@{}/{}?{}",
            encoded(self.user()),
            self.hosts,
            encoded(database),
            parameters.join("&")
        ))
    }

    /// Its parts, for a driver that is not ours.
    #[must_use]
    pub fn parts(&self) -> AddressParts<'_> {
        let Key { hosts, ports, .. } = &self.key;
        let port = |nth: usize| ports.get(nth).or(ports.first()).copied().unwrap_or(5432);
        AddressParts {
            hosts: hosts.iter().enumerate().map(|(nth, host)| (host.clone(), port(nth))).collect(),
            password: self.config.get_password().and_then(|password| std::str::from_utf8(password).ok()),
            ssl_mode: match self.tls {
                TlsMode::Disable => "disable",
                TlsMode::Prefer => "prefer",
                TlsMode::Require => "require",
                TlsMode::VerifyCa => "verify-ca",
                TlsMode::VerifyFull => "verify-full",
            },
            root_certificates: self.root_certificates.as_deref(),
            pooled: self.pooled,
        }
    }

    /// Whether both have the same password, or both none.
    #[must_use]
    pub fn same_password(&self, other: &Self) -> bool {
        self.config.get_password() == other.config.get_password()
    }
}

impl Key {
    fn of(config: &Config, tls: TlsMode, root_certificates: Option<PathBuf>, pooled: bool) -> Self {
        let mut hosts: Vec<_> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.to_ascii_lowercase(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        if hosts.is_empty() {
            hosts = config.get_hostaddrs().iter().map(IpAddr::to_string).collect();
        }
        let ports = match config.get_ports() {
            [] => vec![5432],
            ports => ports.to_vec(),
        };
        let user = config.get_user().unwrap_or_default().to_owned();
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        Self { hosts, ports, database, user, tls, root_certificates, pooled }
    }

    fn label(&self) -> String {
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        format!("{}:{}/{}", self.hosts.join(","), ports.join(","), self.database)
    }
}

impl PartialEq for PostgresAddress {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PostgresAddress {}

impl Hash for PostgresAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({})", self.label)
    }
}

/// The same login and database on another host.
fn directly(config: &Config, at: &str) -> Result<Config> {
    let split = at.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = split.filter(|(host, _)| !host.is_empty()) else {
        return Err(wrong(
            "`direct` in the PostgreSQL URL must be a host and a port, as in `direct=db.internal:5432`",
        ));
    };
    let mut direct = Config::new();
    direct.host(host).port(port).ssl_mode(config.get_ssl_mode()).application_name("cloacina");
    direct.keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(Duration::from_secs(30));
    direct.connect_timeout(config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(5)));
    if let Some(user) = config.get_user() {
        direct.user(user);
    }
    if let Some(password) = config.get_password() {
        direct.password(password);
    }
    if let Some(database) = config.get_dbname() {
        direct.dbname(database);
    }
    Ok(direct)
}

fn wrong(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Configuration, message)
}

/// A password with `@`, `/` or `?` in it shifts the borders between the parts of a URL; what comes out would
/// be looked up as a host, and shown in a message.
fn check_escapes(before_query: &str, query: &str) -> Result<()> {
    let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
    let login_is_open = authority.contains(':') && !authority.contains('@');
    let shifted =
        authority.matches('@').count() > 1 || path.contains('@') || (login_is_open && query.contains('@'));
    if shifted {
        return Err(wrong(
            "the PostgreSQL URL is ambiguous: special characters in the user name and the password must be percent-encoded \
             (`@` as `%40`, `/` as `%2F`, `?` as `%3F`, `#` as `%23`, `:` as `%3A`, `%` as `%25`)",
        ));
    }
    let login = authority.split_once('@').map_or("", |(login, _)| login);
    decode(login)?;
    Ok(())
}

/// Everything but what a URL never gives a meaning to.
const ESCAPED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, ESCAPED).to_string()
}

fn decode(text: &str) -> Result<String> {
    let is_escape =
        |rest: &str| rest.len() > 1 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_escape) {
        return Err(wrong("a `%` in the PostgreSQL URL must be written `%25`"));
    }
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| wrong("the PostgreSQL URL is not UTF-8"))
}

/// The parameters that the driver knows.
const DRIVERS: [&str; 18] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// The parameters that are ours.
const OURS: [&str; 4] = ["sslmode", "sslrootcert", "pooler", "direct"];

/// Only what looks like a name is repeated: the rest may be a part of a password.
fn unknown_parameter(parameter: &str) -> StoreError {
    let name = parameter.split_once('=').map(|(name, _)| name);
    let Some(name) =
        name.filter(|name| name.bytes().all(|letter| letter == b'_' || letter.is_ascii_lowercase()))
    else {
        return wrong(
            "the PostgreSQL URL has a parameter that cannot be read: write `?name=value&name=value`",
        );
    };
    let known: Vec<&str> = OURS.into_iter().chain(DRIVERS).collect();
    let hint = match meant(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!(
            "it may have {}, and those of the driver",
            OURS.map(|name| format!("`{name}`")).join(", ")
        ),
    };
    wrong(format!("the PostgreSQL URL has a parameter `{name}` that is not known; {hint}"))
}

fn parse_tls(mode: &str) -> Result<TlsMode> {
    Ok(match mode {
        "disable" => TlsMode::Disable,
        "prefer" | "allow" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(wrong(
                "`sslmode` in the PostgreSQL URL must be disable, allow, prefer, require, verify-ca or verify-full",
            ));
        }
    })
}

fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost")
                || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}
