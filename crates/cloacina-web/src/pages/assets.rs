//! The files that pages load. Their names stay the same, so that a page of one version finds them behind a
//! balancer at a server of another; what changed is told by the tag.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::Problem;

const FILES: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("../../assets/live.js")),
];

pub(super) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Problem::not_found("there is no such file").into_response();
    };
    let tag = tag(text);
    let caching = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag.clone())];
    if headers.get_all(IF_NONE_MATCH).iter().any(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, *kind)], *text).into_response()
}

fn tag(text: &str) -> String {
    let mut tag = "\"".to_owned();
    for byte in &Sha256::digest(text.as_bytes())[..12] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn the_files_are_small_enough_and_load_nothing_from_elsewhere() {
        for (name, _, text) in FILES {
            let most = if *name == "style.css" { 14_000 } else { 45_000 };
            assert!(text.len() <= most, "{name} has {} bytes", text.len());
            assert!(
                !text.contains("http://") && !text.contains("https://") && !text.contains("@import"),
                "{name}"
            );
            assert!(!text.contains("eval(") && !text.contains("new Function"), "{name}");
        }
    }
}
