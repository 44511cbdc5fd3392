use std::sync::Arc;

use async_trait::async_trait;
use cloacina_core::store::{PlaceName, Store};
use cloacina_testing::conformance::Fixture;
use cloacina_testing::memory::MemoryDatabase;

struct Memory;

#[async_trait]
impl Fixture for Memory {
    type Database = MemoryDatabase;

    async fn create(&self) -> MemoryDatabase {
        MemoryDatabase::new()
    }

    async fn open(&self, database: &MemoryDatabase) -> Arc<dyn Store> {
        Arc::new(database.open())
    }

    fn places(&self) -> Vec<PlaceName> {
        ["acme", "globex"].map(|name| PlaceName::Named(name.to_owned())).into()
    }
}

cloacina_testing::store_conformance!(Memory);

#[test]
fn every_behaviour_is_on_the_list() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let list = std::fs::read_to_string(sources.join("conformance.rs")).unwrap();
    let listed: Vec<_> = list.lines().map(str::trim).collect();
    for file in std::fs::read_dir(sources.join("conformance")).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            // What a behaviour is made of.
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
            let name = line.split(['(', '<']).next().unwrap();
            assert!(listed.contains(&name), "{name} is not in `store_conformance!`");
        }
    }
}
