//! The book in `docs`, and every other page: whether each chapter is in the summary, and each link leads
//! somewhere.
//!
//! `mdbook` builds the book where it is installed; what it does not look at, links and anchors, is looked at
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::cargo::{Failure, root};

/// The directories with pages, below the root; other pages lie in the root itself.
const DIRECTORIES: [&str; 2] = ["docs", "examples"];

/// The directory of the book: a chapter links to nothing outside of it, which its readers do not have.
const BOOK: &str = "docs";

/// The chapters, in their order.
const SUMMARY: &str = "docs/SUMMARY.md";

/// What has the code of chapters compiled, as documentation.
const COMPILED: [&str; 2] = ["crates/cloacina/src/lib.rs", "crates/cloacina-web/src/lib.rs"];

/// Looks at all pages, and builds the book if `mdbook` is there.
pub(crate) fn check() -> Result<(), Failure> {
    let pages = Pages::read(root())?;
    let wrong = pages.wrong();
    if !wrong.is_empty() {
        return Err(Failure::Other(wrong.join("\n       ")));
    }
    eprintln!("    {} pages, {} links", pages.by_path.len(), pages.links().count());
    if !Command::new("mdbook").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("    mdbook is not installed: the book is not built (`cargo install mdbook --locked`)");
        return Ok(());
    }
    let built = Command::new("mdbook").arg("build").arg(root().join(BOOK)).status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Other(format!("`mdbook build {BOOK}` failed: {status}"))),
        Err(error) => Err(Failure::Other(format!("failed to run mdbook: {error}"))),
    }
}

/// All pages, by their paths from the root.
struct Pages {
    root: PathBuf,
    by_path: BTreeMap<PathBuf, Page>,
}

struct Page {
    /// Where its first Rust stands.
    code: Option<usize>,
    /// Where each link leads to, as it is written, with the number of its line.
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

impl Pages {
    fn read(root: &Path) -> Result<Self, Failure> {
        let mut pages = Self { root: root.to_owned(), by_path: BTreeMap::new() };
        pages.add(Path::new(""), false)?;
        for directory in DIRECTORIES {
            pages.add(Path::new(directory), true)?;
        }
        Ok(pages)
    }

    fn add(&mut self, directory: &Path, below: bool) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::Other(format!("failed to read {}: {error}", directory.display()))
        };
        for entry in fs::read_dir(self.root.join(directory)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = directory.join(entry.file_name());
            if entry.file_type().map_err(failed)?.is_dir() {
                if below {
                    self.add(&path, true)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(entry.path()).map_err(failed)?;
                self.by_path.insert(path, Page::of(&text));
            }
        }
        Ok(())
    }

    fn links(&self) -> impl Iterator<Item = (&Path, usize, &str)> {
        self.by_path.iter().flat_map(|(path, page)| {
            page.links.iter().map(move |(line, link)| (path.as_path(), *line, link.as_str()))
        })
    }

    /// What is wrong, a line for each.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut in_summary = BTreeSet::new();
        for (page, line, link) in self.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let mut say = |what: &str| wrong.push(format!("{}:{line}: `{link}` {what}", page.display()));
            let (target, anchor) = link.split_once('#').map_or((link, None), |(to, at)| (to, Some(at)));
            let target = if target.is_empty() { page.to_owned() } else { resolved(page, target) };
            if page.starts_with(BOOK) && !target.starts_with(BOOK) {
                say("leads out of the book: name the file as `code` instead");
            } else if !self.root.join(&target).exists() {
                say("leads to no file");
            } else if let Some(anchor) = anchor
                && let Some(there) = self.by_path.get(&target)
                && !there.anchors.contains(anchor)
            {
                say("leads to no heading");
            }
            if page == Path::new(SUMMARY) && !in_summary.insert(target) {
                say("is a chapter twice");
            }
        }
        for page in self.by_path.keys().filter(|page| page.starts_with(BOOK)) {
            if page != Path::new(SUMMARY) && !in_summary.contains(page) {
                wrong.push(format!("{}: is not in {SUMMARY}", page.display()));
            }
        }
        let compiled: String =
            COMPILED.iter().filter_map(|path| fs::read_to_string(self.root.join(path)).ok()).collect();
        for (path, page) in self.by_path.iter().filter(|(path, _)| path.starts_with(BOOK)) {
            if let Some(line) = page.code.filter(|_| !compiled.contains(&format!("{}\")", path.display()))) {
                let path = path.display();
                wrong.push(format!(
                    "{path}:{line}: no `include_str!` in {} has its code compiled",
                    COMPILED[0]
                ));
            }
        }
        wrong
    }
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self { code: None, links: Vec::new(), anchors: BTreeSet::new() };
        let mut in_code = false;
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
                if line.trim_start().starts_with("```rust") {
                    page.code.get_or_insert(number);
                }
            } else if !in_code {
                let prose = without_code(line);
                page.links.extend(links(&prose).map(|link| (number, link.to_owned())));
                if line.starts_with('#') {
                    page.add_heading(line.trim_start_matches('#').trim());
                }
            }
        }
        page
    }

    /// Two headings of one text are told apart by a number.
    fn add_heading(&mut self, text: &str) {
        let anchor = anchor(text);
        let mut known = anchor.clone();
        let mut more = 0;
        while !self.anchors.insert(known.clone()) {
            more += 1;
            known = format!("{anchor}-{more}");
        }
    }
}

/// The anchor of a heading, as it is made by mdbook and by those who show repositories.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
        .collect()
}

/// A line without what is written as `code`.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Where the links of a line lead to.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|after| after.split_once(')')).map(|(link, _)| link)
}

/// The path from the root of a link on a page.
fn resolved(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => {
                // A link that leads above the root stays one that leads nowhere.
                if !path.pop() {
                    path.push("..");
                }
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(pages: &[(&str, &str)]) -> Vec<String> {
        let by_path = pages.iter().map(|(path, text)| (PathBuf::from(path), Page::of(text))).collect();
        Pages { root: root().to_owned(), by_path }.wrong()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let found = pages(&[(
            "README.md",
            "x\n[a](docs/none.md) [b](CONTRIBUTING.md)\n[c](#none)\n# Some\n[d](#some)",
        )]);
        assert_eq!(
            found,
            ["README.md:2: `docs/none.md` leads to no file", "README.md:3: `#none` leads to no heading",]
        );
    }

    #[test]
    fn a_chapter_is_in_the_summary_and_links_to_chapters() {
        let found = pages(&[
            ("docs/SUMMARY.md", "- [a](guides/tasks.md)\n- [b](guides/tasks.md)"),
            ("docs/guides/tasks.md", "[out](../../README.md)"),
            ("docs/guides/lost.md", ""),
        ]);
        assert_eq!(
            found,
            [
                "docs/SUMMARY.md:2: `guides/tasks.md` is a chapter twice",
                "docs/guides/tasks.md:1: `../../README.md` leads out of the book: name the file as `code` instead",
                "docs/guides/lost.md: is not in docs/SUMMARY.md",
            ]
        );
    }

    #[test]
    fn code_of_a_chapter_is_compiled() {
        let summary = ("docs/SUMMARY.md", "[a](guides/tasks.md) [b](guides/none.md)");
        let code = "x\n```rust\nlet x = 1;\n```";
        let found = pages(&[summary, ("docs/guides/tasks.md", code), ("docs/guides/none.md", code)]);
        let missing =
            "docs/guides/none.md:2: no `include_str!` in crates/cloacina/src/lib.rs has its code compiled";
        assert!(
            found.iter().any(|line| line == missing) && !found.iter().any(|line| line.contains("tasks.md:"))
        );
    }

    #[test]
    fn code_holds_no_links_and_headings_have_anchors() {
        let page = Page::of(
            "```\n[x](y)\n# no\n```\n`[x](y)` [z](w)\n## What `is`, and what not?\n## Same\n## Same",
        );
        assert_eq!(page.links, [(5, "w".to_owned())]);
        let anchors: Vec<_> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["same", "same-1", "what-is-and-what-not"]);
    }
}
