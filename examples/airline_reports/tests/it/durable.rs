//! What a start after a crash, a second start and a changed file find.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::{program, run, text};

const CARRIERS: [&str; 3] = ["AA", "B6", "UA"];
const READERS: [&str; 3] = ["by_month", "by_hour", "by_destination"];
const ALL: [&str; 7] =
    ["read_flights", "by_month", "by_hour", "by_destination", "join_figures", "write_json", "write_page"];

/// Enough flights that a pass takes longer than it takes to kill the program.
fn flights(data: &Path) {
    for carrier in CARRIERS {
        let mut text = String::from("month,dep_time,arr_delay,carrier,dest,hour\n");
        for row in 0..150_000 {
            writeln!(
                text,
                "{},{},{},{carrier},MIA,{}",
                row % 12 + 1,
                500 + row % 60,
                row % 90 - 30,
                row % 18 + 5
            )
            .unwrap();
        }
        fs::write(data.join(format!("{carrier}.csv")), text).unwrap();
    }
}

/// The tasks that a run says it finished.
fn finished(stderr: &str) -> BTreeSet<(String, String)> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).take(2).collect::<Vec<_>>();
    let lines = stderr.lines().filter(|line| !line.contains("failed:")).map(words);
    lines
        .filter(|words| words.len() == 2 && ALL.contains(&words[1].as_str()))
        .map(|words| (words[0].clone(), words[1].clone()))
        .collect()
}

#[test]
fn killed_and_started_again_it_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path(), dir.path().join("out"));
    flights(data);

    let mut first = program()
        .arg(data)
        .arg("--out")
        .arg(&out)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    let mut seen = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        writeln!(seen, "{line}").unwrap();
        if READERS.iter().any(|reader| line.contains(reader)) {
            break;
        }
    }
    first.kill().unwrap();
    for line in lines {
        writeln!(seen, "{}", line.unwrap()).unwrap();
    }
    first.wait().unwrap();
    let before = finished(&seen);
    assert!(before.len() < CARRIERS.len() * ALL.len(), "it was not killed in time");

    let output = run(data, &out);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let after = finished(&stderr);
    for carrier in CARRIERS {
        let pair = |task: &str| (carrier.to_owned(), task.to_owned());
        for task in ALL {
            assert!(
                before.contains(&pair(task)) || after.contains(&pair(task)),
                "{carrier} {task} never ran"
            );
        }
        // A task that was followed by another had been recorded, and what is recorded is not done again.
        if READERS.iter().any(|reader| before.contains(&pair(reader))) {
            assert!(!after.contains(&pair("read_flights")), "{carrier} was read again\n{seen}---\n{stderr}");
        }
        if before.contains(&pair("join_figures")) {
            assert!(
                READERS.iter().all(|reader| !after.contains(&pair(reader))),
                "{carrier}\n{seen}---\n{stderr}"
            );
        }
        assert!(
            out.join(format!("{carrier}.html")).is_file() && out.join(format!("{carrier}.json")).is_file()
        );
    }
}

#[test]
fn what_is_finished_is_not_done_again_unless_it_is_asked_for_or_gone_or_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path(), dir.path().join("out"));
    let file = |carrier: &str, delay: i32| {
        let text = format!("month,dep_time,arr_delay,carrier,dest,hour\n1,542,{delay},{carrier},MIA,5\n");
        fs::write(data.join(format!("{carrier}.csv")), text).unwrap();
    };
    for carrier in CARRIERS {
        file(carrier, 1);
    }
    let ran = |arguments: &[&str]| {
        let output = program().arg(data).arg("--out").arg(&out).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (finished(&text(&output.stderr)).len(), text(&output.stdout), text(&output.stderr))
    };
    let all = CARRIERS.len() * ALL.len();
    assert_eq!(ran(&[]).0, all);
    let (again, stdout, stderr) = ran(&[]);
    assert_eq!(again, 0);
    assert!(stderr.contains("Everything was finished before"), "{stderr}");
    assert_eq!(stdout.matches("before").count(), CARRIERS.len(), "{stdout}");

    assert_eq!(ran(&["--fresh"]).0, all);
    fs::remove_file(out.join("B6.html")).unwrap();
    assert_eq!(ran(&[]).0, ALL.len());
    assert!(out.join("B6.html").is_file());
    file("UA", 100);
    assert_eq!(ran(&[]).0, ALL.len());
    assert!(fs::read_to_string(out.join("UA.json")).unwrap().contains("\"mean_delay_minutes\": 100.0"));
}

#[test]
fn a_file_that_was_mended_gets_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path(), dir.path().join("out"));
    fs::write(data.join("AA.csv"), "month,dep_time,arr_delay,carrier,dest,hour\n").unwrap();
    for _ in 0..2 {
        let output = run(data, &out);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains("error: AA: the file has a header and no rows"),
            "{}",
            text(&output.stderr)
        );
    }
    fs::write(data.join("AA.csv"), "month,dep_time,arr_delay,carrier,dest,hour\n1,542,3,AA,MIA,5\n").unwrap();
    assert!(run(data, &out).status.success());
}
