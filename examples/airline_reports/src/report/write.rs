//! How a report is written.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Report;
use super::page::page;

/// Writes `<carrier>.json`.
pub(crate) fn write_json(out: &Path, report: &Report) -> anyhow::Result<PathBuf> {
    let path = out.join(format!("{}.json", report.carrier));
    write_atomically(&path, &(serde_json::to_string_pretty(report)? + "\n"))?;
    Ok(path)
}

/// Writes `<carrier>.html`.
pub(crate) fn write_page(out: &Path, report: &Report) -> anyhow::Result<PathBuf> {
    let path = out.join(format!("{}.html", report.carrier));
    write_atomically(&path, &page(report))?;
    Ok(path)
}

/// Whether both files of this very report are there.
pub(crate) fn is_written(out: &Path, report: &Report) -> bool {
    let json = fs::read(out.join(format!("{}.json", report.carrier)));
    let same = json
        .is_ok_and(|text| serde_json::from_slice::<Report>(&text).is_ok_and(|written| written == *report));
    same && out.join(format!("{}.html", report.carrier)).is_file()
}

/// Replaces the file in one step: a reader, or a start after a crash, sees the old text or the new one.
pub(crate) fn write_atomically(path: &Path, text: &str) -> anyhow::Result<()> {
    let named = || format!("{} cannot be written", path.display());
    let name = path.file_name().with_context(named)?.to_string_lossy();
    // The process id keeps two runners that write the same report out of each other's half-written file.
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to report; a leftover hidden file harms nobody.
        fs::remove_file(&temporary).ok();
    }
    written.with_context(named)
}
