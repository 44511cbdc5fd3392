//! What is there for everybody: the files that pages load, the choice of light or dark, and the login page.
//! None of it tells anything of the engine.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;

use super::fields::see;
use super::layout::{Frame, LOOK, Theme};
use super::parts::url;
use super::{assets, login};
use crate::Problem;
use crate::routes::Routes;
use crate::state::Web;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .open_to_everybody("/", get(root))
        // Where the router is mounted, its root has no slash at its end, and no link leads there.
        .open_to_everybody("/home", get(root))
        .open_to_everybody("/assets/{name}", get(assets::serve))
        .open_to_everybody("/look", get(look))
        .open_to_everybody("/login", get(login::page))
}

/// Leads everybody to what they may see.
async fn root(State(web): State<Arc<Web>>, frame: Frame, parts: Parts) -> Result<Response, Problem> {
    let principal = web.authorize.who(&parts).await?.ok_or_else(Problem::unauthorized)?;
    let page = match principal.tenants() {
        None => "overview".to_owned(),
        Some(tenants) => {
            let first = tenants.first();
            url::tenant(
                first
                    .ok_or_else(|| Problem::forbidden("you may see no tenant: an admin gives that right"))?,
            )
        }
    };
    Ok(see(&frame.to(page)))
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
