//! What is known of workflows without their code.

use std::sync::Arc;

use cloacina_core::store::{DescribedWorkflow, KnownWorkflow};
use jiff::Timestamp;

use super::Fixture;
use super::process::{Process, World, at, key};

fn described(name: &str, version: i64) -> DescribedWorkflow {
    DescribedWorkflow {
        key: key(name, version),
        version: (version > 1).then(|| version.to_string()),
        description: Some(format!(r#"{{"name":"{name}","version":"{version}"}}"#)),
    }
}

impl Process {
    async fn describe(&self, workflows: Vec<DescribedWorkflow>, now: Timestamp) {
        let (place, workflows) = (Arc::clone(&self.place), Arc::<[_]>::from(workflows));
        self.call(|store| async move { store.workflow_describe(&place, &workflows, Some(now)).await }).await;
    }

    async fn known(&self) -> Vec<KnownWorkflow> {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.workflow_list(&place).await }).await
    }

    async fn description(&self, name: &str, version: i64) -> Option<String> {
        let (place, key) = (Arc::clone(&self.place), key(name, version));
        self.call(|store| async move { store.workflow_description(&place, &key).await }).await
    }
}

pub async fn a_workflow_is_described_once_and_listed_with_its_versions(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    assert_eq!(world.known().await, []);
    world.describe(vec![described("b", 1), described("a", 1)], at(1)).await;
    // What is known is not told anew.
    let other = DescribedWorkflow { description: Some("{}".to_owned()), ..described("a", 1) };
    world.describe(vec![other, described("a", 2)], at(2)).await;
    let process = world.process().await;
    let known: Vec<_> =
        process.known().await.into_iter().map(|known| (known.key, known.version, known.first_seen)).collect();
    let second = Some("2".to_owned());
    assert_eq!(known, [(key("a", 2), second, at(2)), (key("a", 1), None, at(1)), (key("b", 1), None, at(1))]);
    assert_eq!(process.description("a", 1).await, described("a", 1).description);
    assert_eq!(process.description("a", 2).await, described("a", 2).description);
    assert_eq!(process.description("a", 3).await, None);
}

pub async fn a_workflow_that_is_too_large_is_known_without_a_description(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let large = DescribedWorkflow { description: None, ..described("large", 1) };
    world.describe(vec![large, described("small", 1)], at(1)).await;
    assert_eq!(world.known().await.len(), 2);
    assert_eq!(world.description("large", 1).await, None);
    assert!(world.description("small", 1).await.is_some());
}
