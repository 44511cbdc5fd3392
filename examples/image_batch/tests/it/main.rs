//! The program from outside: killed in the midst, and started again.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

const NUMBER: usize = 100;

fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image_batch"));
    command.arg(directory).arg(NUMBER.to_string());
    command
}

/// The pictures of a directory, and when they were written.
fn pictures(directory: &Path) -> BTreeMap<String, SystemTime> {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let named = files.map(|file| (file.file_name().into_string().unwrap(), file));
    let complete = named.filter(|(name, _)| name.ends_with(".png"));
    complete.map(|(name, file)| (name, file.metadata().unwrap().modified().unwrap())).collect()
}

/// Starts it and kills it as soon as it says that so many pictures are done.
fn killed_after(directory: &Path, done: usize) {
    let mut process = program(directory).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.map_while(|line| line.split(' ').next().map(str::to_owned));
    let mut numbers = said.filter_map(|number| number.parse::<usize>().ok());
    assert!(numbers.any(|number| number >= done), "it ends before");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_batch_that_is_killed_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let [small, page] = ["small", "report.html"].map(|part| directory.path().join(part));
    killed_after(directory.path(), 5);
    let drawn = pictures(&directory.path().join("large"));
    assert_eq!(drawn.len(), NUMBER);
    killed_after(directory.path(), 30);
    let before = pictures(&small);
    assert!(before.len() >= 30 && !page.exists(), "{} are done", before.len());

    let output = program(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{NUMBER} pictures are in {}\n", page.display()));

    // Only those are done once more whose end was not recorded when it was killed.
    let after = pictures(&small);
    let again = before.iter().filter(|(name, written)| after[*name] != **written).count();
    assert!(again <= 8, "{again} of {} were made again", before.len());
    assert_eq!(pictures(&directory.path().join("large")), drawn, "nothing is drawn again");
    assert_eq!(after.len(), NUMBER);
    for name in after.keys() {
        let reader =
            png::Decoder::new(BufReader::new(File::open(small.join(name)).unwrap())).read_info().unwrap();
        assert_eq!(reader.info().size(), (80, 60), "{name}");
    }
    let html = fs::read_to_string(page).unwrap();
    let shown: Vec<&str> =
        html.lines().filter_map(|line| line.split(r#"<img src="small/"#).nth(1)?.split('"').next()).collect();
    assert_eq!(shown, after.keys().map(String::as_str).collect::<Vec<_>>(), "all of them, in their order");

    // It is over, and stays so.
    let again = program(directory.path()).output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), said);
    assert_eq!(pictures(&small), after);
}
