//! The frame of every page: its head, the pages beside it, and where it is.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OriginalUri, Query};
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use cloacina::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::parts::{say, state, text, url};
use crate::permit::{Action, Administer, Manage, Own, Permit};

/// The cookie that keeps which look somebody chose.
pub(crate) const LOOK: &str = "cloacina_look";

/// Light or dark, whatever the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// Where a page is, and how it is to look.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The way to the root of the pages: empty, or some `../`.
    pub(crate) root: String,
    /// The way from the root to here, with what is behind the question mark.
    pub(crate) here: String,
    pub(crate) theme: Option<Theme>,
    /// What is behind the question mark.
    params: Vec<(String, String)>,
}

impl Frame {
    pub(crate) fn new(path: &str, query: &str, original: &str, headers: &HeaderMap) -> Self {
        let depth = path.split('/').filter(|part| !part.is_empty()).count();
        let root = match depth {
            // Mounted under `/engine`, the root may be asked for without the slash at its end.
            0 => match original.rsplit('/').next() {
                Some(last) if !last.is_empty() => format!("{last}/"),
                _ => "./".to_owned(),
            },
            1 => "./".to_owned(),
            _ => "../".repeat(depth - 1),
        };
        let here = path.trim_start_matches('/');
        let here = if query.is_empty() { here.to_owned() } else { format!("{here}?{query}") };
        Self { root, here, theme: theme(headers), params: parameters(query) }
    }

    /// A link to a page, by its way from the root.
    pub(crate) fn to(&self, page: impl AsRef<str>) -> String {
        format!("{}{}", self.root, page.as_ref())
    }

    /// What is behind the question mark under a name; nothing if it is empty.
    pub(crate) fn param<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// All that is behind the question mark under a name.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name = self.params.iter().filter(move |(known, _)| known == name);
        of_name.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Which question is asked, by its name.
    pub(crate) fn asks(&self) -> Option<&str> {
        self.param("ask")
    }
}

/// What cannot be read is left out: a page is shown all the same.
fn parameters(query: &str) -> Vec<(String, String)> {
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
    uri.ok().and_then(|uri| Query::try_from_uri(&uri).ok()).map(|Query(pairs)| pairs).unwrap_or_default()
}

fn theme(headers: &HeaderMap) -> Option<Theme> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == LOOK).and_then(|(_, look)| Theme::parse(look))
}

impl<S: Send + Sync> FromRequestParts<S> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let original = parts.extensions.get::<OriginalUri>();
        let original = original.map_or(parts.uri.path(), |original| original.path()).to_owned();
        Ok(Self::new(parts.uri.path(), parts.uri.query().unwrap_or_default(), &original, &parts.headers))
    }
}

/// Which of the pages it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nav {
    Overview,
    Executions,
    Inbox,
    Schedules,
    Workflows,
    Tenant,
    Tenants,
    Runners,
    Audit,
    Keys,
}

impl Nav {
    /// Where it is below a tenant, or below the root.
    fn path(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Executions => "executions",
            Self::Inbox => "inbox",
            Self::Schedules => "schedules",
            Self::Workflows => "workflows",
            Self::Tenant => "settings",
            Self::Tenants => "tenants",
            Self::Runners => "runners",
            Self::Audit => "audit",
            Self::Keys => "keys",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Executions => "Executions",
            Self::Inbox => "Inbox",
            Self::Schedules => "Schedules",
            Self::Workflows => "Workflows",
            Self::Tenant => "Tenant",
            Self::Tenants => "Tenants",
            Self::Runners => "Runners",
            Self::Audit => "Audit",
            Self::Keys => "Keys",
        }
    }
}

/// A page without its frame.
pub(crate) struct Page<'a> {
    title: String,
    nav: Nav,
    /// The stream that tells of changes, by its way from the root.
    events: Option<String>,
    /// Whether something is under way that no stream tells of.
    ticks: bool,
    body: &'a Markup,
}

impl<'a> Page<'a> {
    pub(crate) fn new(title: impl Into<String>, nav: Nav, body: &'a Markup) -> Self {
        Self { title: title.into(), nav, events: None, ticks: false, body }
    }

    /// It shows what changes, as this stream tells.
    pub(crate) fn live(mut self, events: String) -> Self {
        self.events = Some(events);
        self
    }

    /// Something is under way on it that no stream tells of.
    pub(crate) fn ticking(mut self, ticks: bool) -> Self {
        self.ticks = ticks;
        self
    }
}

/// The live line, as it is without JavaScript.
pub(crate) fn live(now: Timestamp) -> Markup {
    html! {
        p.live id="live" role="status" {
            "As of " (text::time(now, text::clock(now))) " · " a href="" data-hold { "Reload" }
        }
    }
}

/// A page as it is sent.
pub(crate) fn page<A: Action>(permit: &Permit<A>, frame: &Frame, page: &Page<'_>) -> Markup {
    let tenant = Some(permit.tenant()).filter(|tenant| !tenant.is_empty());
    let home = tenant.map(url::tenant);
    let link = |nav: Nav| match (&home, nav.path()) {
        (Some(home), "overview") => frame.to(home),
        (Some(home), path) => frame.to(format!("{home}/{path}")),
        (None, path) => frame.to(path),
    };
    let entry = |nav: Nav, href: String| {
        html! {
            a href=(href) aria-current=[(nav == page.nav).then_some("page")] { (nav.name()) }
        }
    };
    let sees_all = permit.principal.role(None).is_some();
    let has_keys = permit.web().authorize.keys().is_some();
    // Somebody with rights in several tenants goes from one to the other.
    let theirs = permit.principal.tenants().unwrap_or_default();
    let side = html! {
        header.side {
            a.mark href=(frame.to("home")) { "cloacina" }
            a.scope href=(frame.to(if sees_all { "tenants" } else { "home" })) {
                span.cut { (tenant.unwrap_or("All tenants")) }
                @if sees_all { small { "change the tenant" } }
            }
            button.btn.burger type="button" popovertarget="nav" { "Menu" }
            nav id="nav" popover aria-label="Pages" {
                (entry(Nav::Overview, link(Nav::Overview)))
                @if tenant.is_some() || sees_all {
                    @for nav in [Nav::Executions, Nav::Inbox] { (entry(nav, link(nav))) }
                }
                @if tenant.is_some() {
                    @for nav in [Nav::Schedules, Nav::Workflows, Nav::Tenant] { (entry(nav, link(nav))) }
                    @if permit.may::<Own>() { (entry(Nav::Runners, link(Nav::Runners))) }
                    @if permit.may::<Manage>() {
                        (entry(Nav::Audit, link(Nav::Audit)))
                        @if has_keys { (entry(Nav::Keys, link(Nav::Keys))) }
                    }
                }
                @if theirs.len() > 1 {
                    h2 { "Tenants" }
                    @for other in theirs.iter().filter(|other| Some(**other) != tenant).take(20) {
                        a href=(frame.to(url::tenant(other))) { span.cut { (other) } }
                    }
                }
                @if sees_all {
                    h2 { "Operator" }
                    @if tenant.is_some() { (entry(Nav::Tenants, frame.to("tenants"))) }
                    @else {
                        (entry(Nav::Tenants, link(Nav::Tenants)))
                        @if permit.may::<Administer>() {
                            (entry(Nav::Audit, link(Nav::Audit)))
                            @if has_keys { (entry(Nav::Keys, link(Nav::Keys))) }
                        }
                    }
                }
                (foot(permit, frame))
            }
        }
    };
    document(
        frame,
        &page.title,
        (page.events.as_deref(), page.ticks),
        &html! {
            (side)
            main id="main" {
                @if let Some(said) = frame.param("said").and_then(say::said) { (said) }
                (page.body)
            }
        },
    )
}

fn foot<A: Action>(permit: &Permit<A>, frame: &Frame) -> Markup {
    let look = |to: &str| frame.to(url::query([("to", to), ("back", &frame.here)]).replacen('?', "look?", 1));
    let logs_in = permit.web().authorize.keys().is_some();
    html! {
        div.foot {
            span.any { (permit.principal.name()) } " · " (permit.role().as_str().replace('_', " "))
            br;
            a href=(look("light")) { "Light" } " · " a href=(look("dark")) { "Dark" } " · " a href=(look("system")) { "System" }
            @if logs_in {
                form method="post" action=(frame.to("logout")) { button.plain { "Log out" } }
            }
            div { (env!("CARGO_PKG_VERSION")) }
        }
    }
}

/// A page for somebody who is not known, or to whom something cannot be shown.
pub(crate) fn bare(frame: &Frame, title: &str, body: &Markup) -> Markup {
    document(
        frame,
        title,
        (None, false),
        &html! {
            header.side { a.mark href=(frame.to("home")) { "cloacina" } }
            main id="main" { (body) }
        },
    )
}

fn document(frame: &Frame, title: &str, (events, ticks): (Option<&str>, bool), body: &Markup) -> Markup {
    let body = body.clone().into_string();
    html! {
        (DOCTYPE)
        html lang="en" class=[frame.theme.map(Theme::as_str)] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Cloacina" }
                link rel="stylesheet" href=(frame.to("assets/style.css"));
                script src=(frame.to("assets/live.js")) defer {}
            }
            body data-events=[events.map(|events| frame.to(events))] data-ticks[ticks] data-root=(frame.root) {
                a.skip href="#main" { "To the content" }
                (state::symbols(&body))
                (maud::PreEscaped(body))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::*;

    fn root(path: &str, original: &str) -> String {
        Frame::new(path, "", original, &HeaderMap::new()).root
    }

    #[test]
    fn links_lead_to_the_root_wherever_the_pages_are_mounted() {
        assert_eq!(root("/", "/"), "./");
        assert_eq!(root("/", "/engine"), "engine/");
        assert_eq!(root("/", "/engine/"), "./");
        assert_eq!(root("/tenants", "/engine/tenants"), "./");
        assert_eq!(root("/tenants/acme", "/engine/tenants/acme"), "../");
        assert_eq!(root("/tenants/acme/executions/1", "/tenants/acme/executions/1"), "../../../");
    }

    #[test]
    fn a_look_that_there_is_not_is_none() {
        let with = |cookie: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(cookie));
            Frame::new("/", "", "/", &headers).theme
        };
        assert_eq!(with("a=b; cloacina_look=dark"), Some(Theme::Dark));
        assert_eq!(with("cloacina_look=light"), Some(Theme::Light));
        assert_eq!(with("cloacina_look=\"><script>"), None);
        assert_eq!(with("xcloacina_look=dark"), None);
    }

    #[test]
    fn what_is_behind_the_question_mark_is_found_by_its_whole_name() {
        let frame = Frame::new(
            "/tenants/acme",
            "task=ask&ask=cancel&said=paused",
            "/tenants/acme",
            &HeaderMap::new(),
        );
        assert_eq!(frame.asks(), Some("cancel"));
        assert_eq!(frame.param("said"), Some("paused"));
        let odd = Frame::new("/", "a=%FF&a=1&b", "/", &HeaderMap::new());
        assert_eq!(odd.param("b"), None);
        assert_eq!(frame.here, "tenants/acme?task=ask&ask=cancel&said=paused");
    }
}
