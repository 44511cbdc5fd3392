//! A browser for the tests of web pages: Chromium, which runs without a screen.

use std::env;
use std::io::{self, Error};
use std::path::PathBuf;

use crate::program;

/// The variable that names the program, when it is not found by its usual names.
const VARIABLE: &str = "CLOACINA_CHROMIUM";

const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const HINT: &str = "install it (Debian: `apt-get install chromium`, Fedora: `dnf install chromium`, macOS: `brew install chromium`), or \
                    set CLOACINA_CHROMIUM to the program";

/// Where Chromium is. Where we are root, on Debian, it is installed if it is not there.
///
/// # Errors
///
/// It is not there and cannot be installed, or `CLOACINA_CHROMIUM` names something else.
pub fn chromium() -> io::Result<PathBuf> {
    if let Some(named) = env::var_os(VARIABLE).map(PathBuf::from) {
        // Somebody who names a program does not want another one to be taken silently.
        let is_there = named.is_file();
        return if is_there {
            Ok(named)
        } else {
            Err(Error::other(format!("{VARIABLE} is {}, which is no program", named.display())))
        };
    }
    program::find_or_install("chromium", || program::find(NAMES, &[]), HINT)
}
