//! What is there for everybody: the files that pages load, the choice of light or dark, and the login page.
//! None of it tells anything of the engine.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use axum::routing::get;

use super::layout::{Frame, LOOK, Theme};
use super::{assets, login, see};
use crate::state::Web;

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/assets/{name}", get(assets::serve))
        .route("/look", get(look))
        .route("/login", get(login::page))
}

/// Keeps whether somebody wants light or dark, and leads back.
async fn look(frame: Frame) -> Response {
    let theme = frame.param("to").and_then(Theme::parse);
    // Before the way there is `./`, so that it leads nowhere else.
    let back = frame.param("back").unwrap_or_default().trim_start_matches('/');
    let mut response = see(&format!("./{}", encoded(back)));
    // Without a path it belongs to where the pages are mounted.
    let cookie = match theme {
        Some(theme) => format!("{LOOK}={}; Max-Age=31536000; SameSite=Lax; HttpOnly", theme.as_str()),
        None => format!("{LOOK}=; Max-Age=0; SameSite=Lax; HttpOnly"),
    };
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// A way to a page, as it stands in a header.
pub(super) fn encoded(way: &str) -> String {
    let stays = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    way.bytes()
        .map(|byte| if stays(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
