//! Comments that are too wide to be read beside something else.

use std::fs;
use std::process::Command;

use crate::cargo::{Failure, root};

/// How many columns a line of a comment may have.
const COLUMNS: usize = 110;

/// What a comment begins with, by the end of the file's name.
const LANGUAGES: [(&str, &str); 3] = [("rs", "//"), ("sql", "--"), ("toml", "#")];

/// Looks at every file that Git knows.
pub(crate) fn check() -> Result<(), Failure> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z"]);
    let files = match git.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            eprintln!("    this is no Git repository: comments are not measured");
            return Ok(());
        }
    };
    let mut wide = Vec::new();
    for file in files.split_terminator('\0') {
        let Some((_, mark)) = LANGUAGES.into_iter().find(|(end, _)| file.ends_with(&format!(".{end}")))
        else {
            continue;
        };
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        wide.extend(too_wide(&text, mark).map(|line| format!("{file}:{line}")));
    }
    if wide.is_empty() {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "comments have more than {COLUMNS} columns:\n       {}",
        wide.join("\n       ")
    )))
}

/// The numbers of the lines that are comments and too wide. Tables, code and addresses cannot be broken.
fn too_wide<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut in_code = false;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let comment = line.trim_start().strip_prefix(mark)?.trim_start_matches(['/', '!']).trim_start();
        if comment.starts_with("```") {
            in_code = !in_code;
        }
        let may_break = !in_code && !comment.starts_with('|') && comment.contains(' ');
        (may_break && line.chars().count() > COLUMNS).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_that_is_too_wide_is_found_and_what_cannot_be_broken_is_not() {
        let words = "word ".repeat(30);
        let text = format!(
            "// short\n    /// {words}\nlet statement = \"{words}\";\n//! | {words} |\n/// ```\n/// {words}\n/// ```\n// {}\n//! {words}",
            "x".repeat(200)
        );
        assert_eq!(too_wide(&text, "//").collect::<Vec<_>>(), [2, 9]);
        assert_eq!(too_wide(&format!("-- {words}"), "--").collect::<Vec<_>>(), [1]);
    }
}
