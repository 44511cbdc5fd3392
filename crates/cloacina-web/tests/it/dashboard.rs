//! The dashboard for Grafana, and the table of metrics in the guide.

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
    let names = words.filter(|word| word.starts_with("cloacina_"));
    let series = |name: &str| {
        ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end).map(str::to_owned))
    };
    names.map(|name| series(name).unwrap_or_else(|| name.to_owned())).collect()
}

#[test]
fn the_dashboard_shows_every_metric_of_the_guide_and_no_other() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("docs/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let shown: BTreeSet<String> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .flat_map(|target| names(target["expr"].as_str().unwrap()))
        .collect();
    let guide = read("docs/guides/observe.md");
    let table = guide.lines().filter(|line| line.starts_with("| `cloacina_"));
    let named: BTreeSet<String> = table.flat_map(|line| names(line.split('|').nth(1).unwrap())).collect();
    assert_eq!(shown, named);
}

#[test]
fn the_guide_names_every_metric_of_the_engine_and_no_other() {
    let code = ["meters", "label"].map(|file| read(&format!("crates/cloacina-core/src/{file}.rs"))).concat();
    let counted: BTreeSet<String> =
        code.split('"').filter(|text| text.starts_with("cloacina_")).map(str::to_owned).collect();
    let guide = read("docs/guides/observe.md");
    let table = guide.lines().filter(|line| line.starts_with("| `cloacina_"));
    let named: BTreeSet<String> = table.flat_map(|line| names(line.split('|').nth(1).unwrap())).collect();
    assert_eq!(counted, named);
}
