//! Which file is meant.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use cloacina_core::store::{StoreError, StoreErrorKind};

/// The longest id, in characters: with `.db-journal` it is far below the 255 bytes that file systems allow.
const MAX_ID: usize = 63;

/// Which file a URL means.
///
/// Two addresses are equal if they mean the same file, however it was written: `./a.db`, `a.db`, an absolute
/// path, a path through a symbolic link. Every `:memory:` is a database of its own and equal to nothing but
/// its clones.
#[derive(Debug, Clone)]
pub struct SqliteAddress {
    location: Location,
    label: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Location {
    File(PathBuf),
    Memory(u64),
}

impl PartialEq for SqliteAddress {
    fn eq(&self, other: &Self) -> bool {
        self.location == other.location
    }
}

impl Eq for SqliteAddress {}

impl Hash for SqliteAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.location.hash(state);
    }
}

impl SqliteAddress {
    /// Understands `sqlite://dir/id.db` (from the working directory), `sqlite:///abs/id.db`,
    /// `sqlite::memory:` and a bare path. In a URL `%20` and the like stand for bytes.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] if the address cannot be understood, or its directory is not there.
    pub fn parse(url_or_path: &str) -> Result<Self, StoreError> {
        let path = match url_or_path.strip_prefix("sqlite:") {
            Some(rest) => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                if rest.contains('?') {
                    return Err(configuration(format!(
                        "`sqlite:` addresses take no parameters: remove everything from the `?` in {rest:?} (a `?` that belongs to \
                         the name is written %3F)"
                    )));
                }
                decode(rest)?
            }
            None => match url_or_path.split_once("://") {
                // The rest of the URL is not repeated: it may hold a password.
                Some((scheme, _)) => {
                    return Err(configuration(format!(
                        "the SQLite store cannot open an address that begins with `{scheme}://`; it understands `sqlite://path/to/file.db`"
                    )));
                }
                None => url_or_path.to_owned(),
            },
        };
        if path == ":memory:" {
            return Ok(Self::memory());
        }
        if path.is_empty() {
            return Err(configuration(
                "the SQLite address names no file; write `sqlite://path/to/file.db`".into(),
            ));
        }
        if path.contains('\0') {
            return Err(configuration("the SQLite address contains a NUL character".into()));
        }
        Self::file(Path::new(&path))
    }

    /// A new database in memory.
    #[must_use]
    pub fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            location: Location::Memory(NEXT.fetch_add(1, Ordering::Relaxed)),
            label: ":memory:".to_owned(),
        }
    }

    fn file(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display();
        let Some(name) = path.file_name().filter(|_| !path.as_os_str().to_string_lossy().ends_with('/'))
        else {
            return Err(configuration(format!("the SQLite address {shown} is a directory, not a file")));
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let resolved = directory.canonicalize().map_err(|error| {
            configuration(format!(
                "the directory {} of the SQLite file {shown} cannot be used ({error}); create it first",
                directory.display()
            ))
            .with_source(error)
        })?;
        if !resolved.is_dir() {
            return Err(configuration(format!("{} is not a directory", directory.display())));
        }
        let file = resolved.join(name);
        // A file that is not there yet cannot be resolved, and needs not be.
        let file = file.canonicalize().unwrap_or(file);
        if file.is_dir() {
            return Err(configuration(format!("the SQLite address {shown} is a directory, not a file")));
        }
        let label = file.display().to_string();
        Ok(Self { location: Location::File(file), label })
    }

    /// A file of a directory whose path has no links in it; the file is none, either.
    pub(crate) fn within(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        let label = path.display().to_string();
        Self { location: Location::File(path), label }
    }

    /// What the place of the file is called in messages: `acme` for `/var/lib/app/acme.db`.
    #[must_use]
    pub fn place_name(&self) -> String {
        match self.path().and_then(Path::file_stem) {
            Some(stem) => stem.to_string_lossy().into_owned(),
            None => "memory".to_owned(),
        }
    }

    /// For messages: the path.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The path of the file; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::File(path) => Some(path),
            Location::Memory(_) => None,
        }
    }
}

fn configuration(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Configuration, message)
}

fn decode(text: &str) -> Result<String, StoreError> {
    let is_escape =
        |rest: &str| rest.len() > 1 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_escape) {
        return Err(configuration(format!(
            "the SQLite address {text:?} has a `%` that is not followed by two hexadecimal digits; a `%` itself is written %25"
        )));
    }
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| configuration(format!("the SQLite address {text:?} is not UTF-8 once it is decoded")))
}

/// Which file on the disk a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileIdentity {
    /// `None` if there is no file, or it cannot be told.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        // The times are not asked for: on Linux from 6.13 a file whose times were looked at gets finer ones
        // with its next write, and then each `fsync` of its log has to write the times too, a third longer.
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
            if let Ok(file) = statx(CWD, path, AtFlags::empty(), StatxFlags::INO) {
                let device = makedev(file.stx_dev_major, file.stx_dev_minor);
                return Some(Self { device_and_inode: (device, file.stx_ino) });
            }
        }
        Self::of_metadata(&std::fs::metadata(path).ok()?)
    }

    pub(crate) fn of_metadata(metadata: &std::fs::Metadata) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Some(Self { device_and_inode: (metadata.dev(), metadata.ino()) })
        }
        #[cfg(not(unix))]
        {
            metadata.is_file().then_some(Self {})
        }
    }
}

/// The name of a tenant's file without its extension: 1 to 63 ASCII letters, digits, `_` and `-`, the first
/// no `-`.
///
/// No such name leaves its directory, is hidden, is an option of a command, or a device of Windows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(Box<str>);

impl FileId {
    /// Understands a name.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`], saying what is wrong with it.
    pub fn parse(id: &str) -> Result<Self, StoreError> {
        let refuse = |reason: &str| {
            // Only the beginning of it: it may be long.
            let shown: String = id.chars().take(MAX_ID + 1).collect();
            Err(StoreError::new(
                StoreErrorKind::Configuration,
                format!("{shown:?} cannot be the name of a tenant's file: {reason}"),
            ))
        };
        if id.is_empty() {
            return refuse("it is empty");
        }
        if id.len() > MAX_ID {
            return refuse("it is longer than 63 characters");
        }
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            return refuse("only ASCII letters, digits, `_` and `-` may be in it");
        }
        if id.starts_with('-') {
            return refuse("it begins with `-`");
        }
        if is_device(id) {
            return refuse("Windows has a device of this name");
        }
        Ok(Self(id.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the file `<id>.db`; `None` if it has another name.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        Self::parse(file.file_name()?.to_str()?.strip_suffix(".db")?).ok()
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{self}.db")
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FileId {
    type Err = StoreError;

    fn from_str(id: &str) -> Result<Self, StoreError> {
        Self::parse(id)
    }
}

/// See <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>.
fn is_device(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    match id.as_str() {
        "con" | "prn" | "aux" | "nul" => true,
        _ => ["com", "lpt"].iter().any(|port| {
            id.strip_prefix(port)
                .is_some_and(|number| number.len() == 1 && number.as_bytes()[0].is_ascii_digit())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_is_the_same_address() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().display();
        let plain = SqliteAddress::parse(&format!("sqlite://{base}/a.db")).unwrap();
        assert_eq!(plain, SqliteAddress::parse(&format!("sqlite://{base}/./a.db")).unwrap());
        assert_eq!(plain, SqliteAddress::parse(&format!("sqlite:{base}/%61.db")).unwrap());
        assert_eq!(plain, SqliteAddress::parse(&format!("{base}/a.db")).unwrap());
        assert_ne!(plain, SqliteAddress::parse(&format!("sqlite://{base}/b.db")).unwrap());
        assert_eq!(
            SqliteAddress::parse("sqlite://./x.db").unwrap(),
            SqliteAddress::parse("sqlite://x.db").unwrap()
        );
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).unwrap();
            assert_eq!(plain, SqliteAddress::parse(&format!("sqlite://{base}/link/a.db")).unwrap());
        }
    }

    #[test]
    fn every_database_in_memory_is_its_own() {
        let one = SqliteAddress::parse("sqlite::memory:").unwrap();
        assert_eq!(one, one.clone());
        assert_ne!(one, SqliteAddress::parse("sqlite::memory:").unwrap());
    }

    #[test]
    fn an_address_that_cannot_be_used_says_why() {
        for (url, words) in [
            ("sqlite://a.db?mode=rwc", "no parameters"),
            ("postgres://u:secret@h/d", "postgres://"),
            ("sqlite://", "names no file"),
            ("sqlite:///", "directory"),
            ("sqlite://./", "directory"),
            ("sqlite:///tmp", "directory"),
            ("sqlite:///no/such/dir/a.db", "/no/such/dir"),
            ("sqlite://a%2.db", "hexadecimal"),
            ("sqlite://a%+1.db", "hexadecimal"),
            ("sqlite://a%00.db", "NUL"),
            ("sqlite://a%ff.db", "UTF-8"),
        ] {
            let error = SqliteAddress::parse(url).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Configuration, "{url}");
            assert!(error.to_string().contains(words), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
