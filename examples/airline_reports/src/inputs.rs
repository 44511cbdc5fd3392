//! Finds the airlines' files in a directory, and what tells one version of a file from another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The flights of one airline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// The airline's code, upper case: the name of its file, and of its place in the database.
    pub(crate) carrier: String,
    /// The file, or why there is none to read.
    pub(crate) source: Result<Source, String>,
}

/// A file as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The absolute path.
    pub(crate) path: PathBuf,
    /// The size, as it lies on the disk.
    pub(crate) bytes: u64,
    /// When it was last changed, in nanoseconds since 1970; 0 where the file system does not know.
    pub(crate) modified_ns: u64,
}

impl Source {
    /// Looks at a file, without opening it.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let path = fs::canonicalize(path)?;
        let metadata = fs::metadata(&path)?;
        if !metadata.is_file() {
            bail!("it is not a file");
        }
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Ok(Self { path, bytes: metadata.len(), modified_ns })
    }
}

/// Every airline that has a file in the directory, by its code.
///
/// A file is an airline's if it is named like one: two or three letters or digits. Others, such as
/// `airports.csv`, are none of our business.
pub(crate) fn find(directory: &Path) -> anyhow::Result<Vec<Input>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let named = || format!("the directory {} cannot be read", directory.display());
    for entry in fs::read_dir(directory).with_context(named)? {
        let path = entry.with_context(named)?.path();
        if let Some(carrier) = carrier(&path) {
            files.entry(carrier).or_default().push(path);
        }
    }
    if files.is_empty() {
        bail!(
            "the directory {} holds no flights: no file is named like <carrier>.csv or <carrier>.csv.gz",
            directory.display()
        );
    }
    Ok(files.into_iter().map(|(carrier, paths)| Input { source: only(&paths), carrier }).collect())
}

fn only(paths: &[PathBuf]) -> Result<Source, String> {
    match paths {
        [path] => Source::of(path).map_err(|error| format!("{}: {error}", path.display())),
        _ => {
            let mut names: Vec<_> = paths.iter().filter_map(|path| path.file_name()?.to_str()).collect();
            names.sort_unstable();
            Err(format!("more than one file claims to be its flights: {}", names.join(", ")))
        }
    }
}

fn carrier(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".csv").or_else(|| name.strip_suffix(".csv.gz"))?;
    let is_code = (2..=3).contains(&stem.len()) && stem.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| stem.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_named_like_an_airline_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["AA.csv", "9E.csv.gz", "airports.csv", "UA.txt", "README.md", "b6.csv", "B6.csv.gz"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("HA.csv")).unwrap();
        let found = find(dir.path()).unwrap();
        assert_eq!(
            found.iter().map(|input| input.carrier.as_str()).collect::<Vec<_>>(),
            ["9E", "AA", "B6", "HA"]
        );
        assert!(found[0].source.is_ok() && found[1].source.is_ok());
        assert_eq!(
            found[2].source.as_ref().unwrap_err(),
            "more than one file claims to be its flights: B6.csv.gz, b6.csv"
        );
        assert!(found[3].source.as_ref().unwrap_err().ends_with("HA.csv: it is not a file"));
    }

    #[test]
    fn a_missing_and_an_empty_directory_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find(dir.path()).unwrap_err().to_string().contains("holds no flights"));
        assert!(find(&dir.path().join("none")).unwrap_err().to_string().ends_with("none cannot be read"));
    }
}
