//! What the program makes of right and wrong arguments and files.

use std::fs;

use crate::{program, run, text};

const HEADER: &str = "month,dep_time,arr_delay,carrier,dest,hour\n";

#[test]
fn without_arguments_it_reports_on_the_extract() {
    let dir = tempfile::tempdir().unwrap();
    let output = program().current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let words: Vec<_> = stdout.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words[..5], ["all", "8,768", "102", "29", "0"], "{stdout}");
    for name in ["index.html", "AA.html", "AA.json", "B6.html", "HA.html", "OO.html", "UA.json"] {
        assert!(dir.path().join("report").join(name).is_file(), "{name} is missing");
    }
}

#[test]
fn wrong_arguments_end_with_2() {
    for (arguments, reason) in [
        (&["--fast"][..], "invalid option '--fast'"),
        (&["a", "b"], "unexpected argument \"b\""),
        (&["--database", "mysql://h/d"], "--database has to begin with postgresql://"),
    ] {
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_goes_to_standard_output() {
    let output = program().arg("--help").output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("Usage: airline_reports"));
}

#[test]
fn a_missing_or_empty_directory_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (data, reason) in [(empty, "holds no flights"), (dir.path().join("none"), "cannot be read")] {
        let output = run(&data, &dir.path().join("out"));
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
        assert!(!dir.path().join("out").exists());
    }
}

#[test]
fn one_airlines_broken_file_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = |name: &str, text: &str| fs::write(data.join(name), text).unwrap();
    file("AA.csv", &format!("{HEADER}1,542,33,AA,MIA,5\n1,542,33,UA,MIA,5\nrubbish\n"));
    file("B6.csv", "");
    file("DL.csv", "month,hour\n1,2\n");
    file("EV.csv.gz", "this is no gzip");
    fs::create_dir(data.join("HA.csv")).unwrap();

    let out = dir.path().join("out");
    let output = run(&data, &out);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    for reason in [
        "error: B6: the file is empty",
        "error: DL: the header lacks the columns dep_time, arr_delay, carrier, dest",
        "error: EV: the file cannot be read: invalid gzip header",
        "HA.csv: it is not a file",
    ] {
        assert!(stderr.contains(reason), "{reason} is missing in:\n{stderr}");
    }
    let stdout = text(&output.stdout);
    let american: Vec<_> = stdout.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(american[american.len() - 8..american.len() - 4], ["1", "0", "0", "2"], "{stdout}");
    assert!(out.join("AA.html").is_file() && !out.join("B6.html").exists());
    assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("Without a report"));
}
