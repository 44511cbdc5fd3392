//! The document that describes the interface.

use std::collections::BTreeSet;
use std::path::Path;

/// The document in the repository is the one that the program makes. With `CLOACINA_UPDATE=1` it is written.
#[test]
fn the_document_in_the_repository_is_true() {
    let made = cloacina_web::openapi().to_pretty_json().unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("CLOACINA_UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "{} is not what the routes say: run this test with CLOACINA_UPDATE=1, and look at the difference",
        path.display()
    );
}

#[test]
fn the_document_has_every_route_of_the_interface() {
    let document = serde_json::to_value(cloacina_web::openapi()).unwrap();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase(), path.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    let routes = cloacina_web::routes().into_iter().filter(|route| route.path.starts_with("/v1"));
    let declared: BTreeSet<_> =
        routes.map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(described, declared);
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let text = cloacina_web::openapi().to_json().unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(!document["components"]["schemas"][name].is_null(), "{name}");
    }
    let ids: Vec<&str> =
        text.split("\"operationId\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}
