//! Circles of imports between the files of a crate.
//!
//! Files that need each other cannot be read, tested or moved one without the other. Either they are one
//! thing, or what both need has a home of its own.
//!
//! A file is tied to another one by each name that it takes from there, wherever re-exports lead. A `mod` and
//! a re-export tie nothing by themselves, and what is under `#[cfg(test)]` does not count. Methods are not
//! seen: they come with a type that somebody named.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{Failure, root};
use crate::imports::Contents;

/// How many re-exports of re-exports are followed.
const MOST_STEPS: u32 = 16;

/// Looks for circles in all crates, and tells how many there are.
pub(crate) fn check() -> Result<(), Failure> {
    let roots = crate_roots()?;
    let read = |path: &Path| fs::read_to_string(root().join(path)).ok();
    let mut circles = Vec::new();
    for path in &roots {
        let loaded = Crate::load(path, &read)?;
        let ties = loaded.ties();
        circles.extend(loaded.circles(&ties).iter().map(|circle| loaded.told(circle, &ties)));
    }
    eprintln!("    {} circles in {} crates", circles.len(), roots.len());
    if circles.is_empty() {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "files import each other in circles; move what both need to where it belongs, or to a file of its own\n\n{}",
        circles.join("\n")
    )))
}

/// The first file of each of our crates, from the root of the workspace.
fn crate_roots() -> Result<Vec<PathBuf>, Failure> {
    let mut crates = vec![PathBuf::from("xtask")];
    for folder in ["crates", "examples"] {
        let failed = |error| Failure::Other(format!("failed to read {folder}: {error}"));
        for entry in fs::read_dir(root().join(folder)).map_err(failed)? {
            crates.push(Path::new(folder).join(entry.map_err(failed)?.file_name()));
        }
    }
    crates.sort();
    let files = crates.iter().flat_map(|path| ["src/lib.rs", "src/main.rs"].map(|file| path.join(file)));
    Ok(files.filter(|file| root().join(file).exists()).collect())
}

/// The modules and files of a crate.
#[derive(Default)]
struct Crate {
    files: Vec<PathBuf>,
    /// The first one is the crate itself.
    modules: Vec<Module>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(usize),
    Item { file: usize, name: String },
}

/// The names that a file takes from another one: from, to, names.
type Ties = BTreeMap<(usize, usize), BTreeSet<String>>;

struct Module {
    file: usize,
    parent: Option<usize>,
    modules: HashMap<String, usize>,
    contents: Contents,
}

type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl Crate {
    fn load(path: &Path, read: Read<'_>) -> Result<Self, Failure> {
        let mut loaded = Self::default();
        loaded.load_file(path, None, read)?;
        Ok(loaded)
    }

    fn load_file(&mut self, path: &Path, parent: Option<usize>, read: Read<'_>) -> Result<usize, Failure> {
        let failed =
            |what: &dyn Display| Failure::Other(format!("failed to read {}: {what}", path.display()));
        let text = read(path).ok_or_else(|| failed(&"there is no such file"))?;
        let parsed = syn::parse_file(&text).map_err(|error| failed(&error))?;
        self.files.push(path.to_owned());
        let folder = path.parent().unwrap_or(Path::new(""));
        let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") | None => folder.to_owned(),
            Some(stem) => folder.join(stem),
        };
        self.load_module(Contents::of(parsed.items), self.files.len() - 1, parent, &folder, read)
    }

    fn load_module(
        &mut self,
        mut contents: Contents,
        file: usize,
        parent: Option<usize>,
        folder: &Path,
        read: Read<'_>,
    ) -> Result<usize, Failure> {
        let this = self.modules.len();
        let inner = std::mem::take(&mut contents.modules);
        self.modules.push(Module { file, parent, modules: HashMap::new(), contents });
        for (name, contents) in inner {
            let inside = folder.join(&name);
            let child = match contents {
                Some(contents) => self.load_module(contents, file, Some(this), &inside, read)?,
                None => {
                    let beside = folder.join(format!("{name}.rs"));
                    let path = if read(&beside).is_some() { beside } else { inside.join("mod.rs") };
                    self.load_file(&path, Some(this), read)?
                }
            };
            self.modules[this].modules.insert(name, child);
        }
        Ok(this)
    }

    /// What a path means in a module.
    fn find(&self, module: usize, path: &[String], steps: u32) -> Vec<Target> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut found = match first.as_str() {
            "crate" => vec![Target::Module(0)],
            "self" => vec![Target::Module(module)],
            "super" => self.modules[module].parent.map(Target::Module).into_iter().collect(),
            name => self.find_name(module, name, steps),
        };
        for name in rest {
            // A function or macro may have the name of a module, but nothing is in it.
            if found.iter().any(|target| matches!(target, Target::Module(_))) {
                found.retain(|target| matches!(target, Target::Module(_)));
            }
            found = found.into_iter().flat_map(|target| self.enter(target, name, steps)).collect();
        }
        found.sort();
        found.dedup();
        found
    }

    fn enter(&self, target: Target, name: &str, steps: u32) -> Vec<Target> {
        let Target::Module(module) = target else { return vec![target] };
        if name == "super" {
            return self.modules[module].parent.map(Target::Module).into_iter().collect();
        }
        let found = self.find_name(module, name, steps);
        if found.is_empty() && !self.imports(module, name) {
            // A macro made it.
            return vec![Target::Item { file: self.modules[module].file, name: name.to_owned() }];
        }
        found
    }

    fn imports(&self, module: usize, name: &str) -> bool {
        self.modules[module].contents.imports.iter().any(|import| import.name.as_deref() == Some(name))
    }

    fn find_name(&self, module: usize, name: &str, steps: u32) -> Vec<Target> {
        let Module { file, modules, contents, .. } = &self.modules[module];
        let mut found: Vec<Target> =
            modules.get(name).map(|module| Target::Module(*module)).into_iter().collect();
        if contents.items.contains(name) {
            found.push(Target::Item { file: *file, name: name.to_owned() });
        }
        let Some(steps) = steps.checked_sub(1) else { return found };
        for import in contents.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            found.extend(self.find(module, &import.path, steps));
        }
        if found.is_empty() {
            for import in contents.imports.iter().filter(|import| import.name.is_none()) {
                for target in self.find(module, &import.path, steps) {
                    if let Target::Module(from) = target {
                        found.extend(self.find_name(from, name, steps));
                    }
                }
            }
        }
        found
    }

    fn ties(&self) -> Ties {
        let mut ties = Ties::new();
        for (nth, module) in self.modules.iter().enumerate() {
            let imports = module.contents.imports.iter().filter(|import| !import.is_export);
            for path in imports.map(|import| &import.path).chain(&module.contents.paths) {
                for target in self.find(nth, path, MOST_STEPS) {
                    if let Target::Item { file, name } = target
                        && file != module.file
                    {
                        ties.entry((module.file, file)).or_default().insert(name);
                    }
                }
            }
        }
        ties
    }

    /// The largest sets of files each of which leads to all others.
    fn circles(&self, ties: &Ties) -> BTreeSet<BTreeSet<usize>> {
        let reached: Vec<BTreeSet<usize>> = (0..self.files.len()).map(|file| reach(file, ties)).collect();
        let circle = |file: usize| {
            reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect()
        };
        (0..self.files.len()).map(circle).filter(|circle: &BTreeSet<usize>| circle.len() > 1).collect()
    }

    fn told(&self, circle: &BTreeSet<usize>, ties: &Ties) -> String {
        let mut text = format!("a circle of {} files:\n", circle.len());
        for ((from, to), names) in
            ties.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to))
        {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (from, to) = (self.files[*from].display(), self.files[*to].display());
            let _infallible = writeln!(text, "  {from} imports {} from {to}", names.join(", "));
        }
        text
    }
}

/// The files that one leads to. It leads to itself only by a circle.
fn reach(file: usize, ties: &Ties) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(from) = next.pop() {
        let found = ties.range((from, 0)..=(from, usize::MAX)).map(|((_, to), _)| *to);
        next.extend(found.filter(|to| reached.insert(*to)));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrows of the circles in a crate with these files.
    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let files: HashMap<PathBuf, String> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let read = |path: &Path| files.get(path).cloned();
        let Ok(loaded) = Crate::load(Path::new("lib.rs"), &read) else { panic!("the files are readable") };
        let ties = loaded.ties();
        let told = loaded.circles(&ties).iter().map(|circle| loaded.told(circle, &ties)).collect::<String>();
        told.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::{self, Two as Second}; pub struct One(Second);"),
            ("b.rs", "pub struct Two; fn made() -> Option<super::a::One> { None }"),
        ]);
        assert_eq!(found, ["a.rs imports Two from b.rs", "b.rs imports One from a.rs"]);
    }

    #[test]
    fn a_chain_of_files_is_none() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; mod c; use a::One;"),
            ("a.rs", "use crate::b::Two; use crate::c::Three; pub struct One;"),
            ("b.rs", "use super::c::Three; pub struct Two;"),
            ("c.rs", "pub struct Three;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_longer_circle_is_found_whole() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::Two; pub struct One;"),
            ("b.rs", "use crate::c::Three; pub struct Two;"),
            ("c.rs", "use crate::a::One; pub struct Three;"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_reexport_leads_to_where_the_name_is_defined_and_is_no_import() {
        let files = |inner: &'static str| {
            arrows(&[
                ("lib.rs", "mod a; mod b;"),
                (
                    "a/mod.rs",
                    "mod inner; pub(crate) use inner::Thing; pub use crate::b::*; pub struct Other;",
                ),
                ("a/inner.rs", inner),
                ("b.rs", "use crate::a::Thing; pub struct Two;"),
            ])
        };
        let found = files("use super::Two; pub struct Thing;");
        assert_eq!(found, ["a/inner.rs imports Two from b.rs", "b.rs imports Thing from a/inner.rs"]);
        let found = files("use super::Other; pub struct Thing;");
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_path_through_a_module_that_was_imported_counts() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b as other; fn one() { println!(\"{}\", other::two()) }"),
            ("b.rs", "pub fn two() { use crate::a; a::one() }"),
        ]);
        assert_eq!(found, ["a.rs imports two from b.rs", "b.rs imports one from a.rs"]);
    }

    #[test]
    fn what_a_file_uses_of_its_own_module_counts() {
        let found = |text: &'static str| {
            arrows(&[("lib.rs", text), ("a.rs", "use super::Two; pub fn one() {} pub struct One;")])
        };
        let circle = |name: &str| {
            vec![format!("lib.rs imports {name} from a.rs"), "a.rs imports Two from lib.rs".to_owned()]
        };
        assert_eq!(found("mod a; pub use a::One; pub struct Two(One);"), circle("One"));
        assert_eq!(found("mod a; pub struct Two; fn two() { a::one() }"), circle("one"));
        assert_eq!(found("mod a; pub use a::*; pub struct Two { one: u8 }"), Vec::<String>::new());
    }

    #[test]
    fn what_a_macro_defines_belongs_to_the_file_of_its_module() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b; macro_rules! names { () => {} } names! { ONE } const X: u8 = b::TWO;"),
            ("b.rs", "pub const TWO: u8 = crate::a::ONE;"),
        ]);
        assert_eq!(found, ["a.rs imports TWO from b.rs", "b.rs imports ONE from a.rs"]);
    }

    #[test]
    fn tests_do_not_count() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
            (
                "a.rs",
                "pub struct One; #[cfg(test)] mod tests { use crate::b::Two; } \
                 impl One { #[cfg(test)] fn two<A, B>() { crate::b::Two; } fn one() {} }",
            ),
            ("b.rs", "use crate::a::One; pub struct Two;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }
}
