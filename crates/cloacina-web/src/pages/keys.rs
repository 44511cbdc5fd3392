//! Keys: who may send requests. A secret is shown once, when its key is made.

use axum::response::{IntoResponse, Response};
use cloacina::Timestamp;
use cloacina::keys::KeyRecord;
use maud::{Markup, html};

use super::fields::Fields;
use super::fields::see;
use super::layout::{self, Frame, Nav, Page};
use super::parts::dialog::{self, Dialog};
use super::parts::table::{column, empty, numbers, table};
use super::parts::{text, url};
use crate::api::{KeyBody, issue, keys};
use crate::permit::{Action, Administer, Manage, Permit};
use crate::routes::Routes;
use crate::time::now;
use crate::{Problem, Role};

/// How many keys stand on a page.
const PAGE: usize = 50;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .page("/keys", all)
        .form("/keys", make_for_all)
        .form("/keys/end", end_any)
        .page("/tenants/{tenant}/keys", of_tenant)
        .form("/tenants/{tenant}/keys", make)
        .form("/tenants/{tenant}/keys/end", end)
}

async fn all(permit: Permit<Administer>, frame: Frame) -> Result<Markup, Problem> {
    list(&permit, &frame, None).await
}

async fn of_tenant(permit: Permit<Manage>, frame: Frame) -> Result<Markup, Problem> {
    list(&permit, &frame, Some(permit.tenant())).await
}

/// Where the keys of a tenant are, or all of them, from the root on.
fn home(tenant: Option<&str>) -> String {
    tenant.map_or("keys".to_owned(), |tenant| format!("{}/keys", url::tenant(tenant)))
}

async fn list<A: Action>(permit: &Permit<A>, frame: &Frame, tenant: Option<&str>) -> Result<Markup, Problem> {
    let known = keys(permit)?;
    let mut shown = known.list(tenant, frame.param("after"), PAGE + 1).await?;
    let has_more = shown.len() > PAGE;
    shown.truncate(PAGE);
    let next = shown.last().filter(|_| has_more).map(|last| url::query([("after", last.id.as_str())]));
    let now = now();
    let asked = frame.param("key");
    let ask = match frame.asks() {
        Some("new") => Some(new_dialog(permit, frame, tenant)),
        Some("end") => {
            shown.iter().find(|key| Some(key.id.as_str()) == asked).map(|key| end_dialog(frame, tenant, key))
        }
        _ => None,
    };
    let columns = [
        column("Key"),
        column("Role"),
        column("Tenant"),
        column("Made"),
        numbers("Used, good until"),
        numbers("End it"),
    ];
    let rows = html! { @for key in &shown { (row(frame, key, now)) } };
    let body = html! {
        @if let Some(ask) = &ask { (ask.show()) }
        header {
            div.head {
                h1 { "Keys" }
                div.btns { (dialog::asks("new", "New key", "go")) }
            }
            p.lede { "A program sends its key with each request; a person logs in with one. Nobody can read a key again." }
        }
        section {
            @if shown.is_empty() { (empty("No key yet.", &html! { "Make one for each program and each person, so that each can be ended alone." })) }
            @else {
                (table("Keys", &columns, &rows))
                nav.pager aria-label="Pages of the list" {
                    span { (shown.len()) " shown" }
                    span.end.btns {
                        @if frame.param("after").is_some() { a.btn href="?" { "First" } }
                        @if let Some(next) = &next { a.btn href=(next) rel="next" { "More" } }
                    }
                }
            }
        }
    };
    Ok(layout::page(permit, frame, &Page::new("Keys", Nav::Keys, &body)))
}

fn row(frame: &Frame, key: &KeyRecord, now: Timestamp) -> Markup {
    let is_over = key.expires_at.is_some_and(|time| time <= now);
    html! {
        tr role="row" {
            td.max role="cell" { span.cut title=(key.name) { (key.name) } small.mono { (key.id) } }
            td.nb role="cell" { (key.role.replace('_', " ")) @if key.payloads { small { "sees payloads" } } }
            td.max role="cell" {
                @match &key.tenant {
                    Some(tenant) => a.cut href=(frame.to(url::tenant(tenant))) { (tenant) },
                    None => span.soft { "all" },
                }
            }
            td.nb role="cell" { (text::time(key.created_at, text::moment(key.created_at, now))) small { "by " (key.created_by) } }
            td.n role="cell" {
                @match key.last_used_at {
                    Some(time) => (text::time(time, text::relative(time, now))),
                    None => "never",
                }
                small {
                    @match key.expires_at {
                        Some(time) => { @if is_over { "expired " } (text::time(time, text::moment(time, now))) }
                        None => "for ever",
                    }
                }
            }
            td.n role="cell" { a.btn.bad href=(url::query([("ask", "end"), ("key", key.id.as_str())])) data-ask { "End…" } }
        }
    }
}

fn new_dialog<A: Action>(permit: &Permit<A>, frame: &Frame, tenant: Option<&str>) -> Dialog {
    let role = permit.role();
    let whose = tenant.map_or("for all tenants".to_owned(), |tenant| format!("for {tenant}"));
    Dialog::new(format!("Make a key {whose}?"), frame.to(home(tenant)), "Make the key")
        .body(html! { p { "Its secret is shown once, on the next page." } })
        .fields(html! {
            label { "Name, by which people know it" input name="name" required maxlength="100" autocomplete="off"; }
            label { "Role" select name="role" {
                @for known in Role::ALL.into_iter().filter(|known| *known <= role) {
                    option value=(known.as_str()) { (known.as_str().replace('_', " ")) }
                }
            } }
            label { "Good for" select name="days" {
                option value="" { "ever" }
                @for days in ["1", "7", "30", "90", "365"] { option value=(days) selected[days == "90"] { (days) " d" } }
            } }
            @if permit.sees_payloads() {
                label.check { input type="checkbox" name="payloads" value="yes"; " may see payloads" }
            }
        })
}

fn end_dialog(frame: &Frame, tenant: Option<&str>, key: &KeyRecord) -> Dialog {
    Dialog::new(format!("End the key {}?", key.name), frame.to(format!("{}/end", home(tenant))), "End the key")
        .bad("Keep it")
        .body(html! { p { "It opens nothing from now on, and neither do the sessions that were made with it. This cannot be undone." } })
        .fields(html! { input type="hidden" name="key" value=(key.id); })
}

async fn make_for_all(permit: Permit<Administer>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    made(&permit, &frame, None, &fields).await
}

async fn make(permit: Permit<Manage>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    // That there is such a tenant.
    permit.runner().await?;
    made(&permit, &frame, Some(permit.tenant()), &fields).await
}

async fn made<A: Action>(
    permit: &Permit<A>,
    frame: &Frame,
    tenant: Option<&str>,
    fields: &Fields,
) -> Result<Response, Problem> {
    let lasts = fields.number("days")?.map(|days| jiff::SignedDuration::from_hours(24 * i64::from(days)));
    let body = KeyBody {
        name: fields.needed("name")?.to_owned(),
        role: fields.needed("role")?.to_owned(),
        payloads: fields.get("payloads").is_some(),
        expires_at: lasts.and_then(|lasts| now().checked_add(lasts).ok()),
    };
    let (secret, key) = issue(permit, tenant, body).await?;
    let body = html! {
        header { h1 { "The key " (key.name) } p.lede { "It is shown once, here. Nobody can see it again." } }
        section {
            dl.facts {
                dt { "Secret" } dd.mono.any id="secret" { (secret) }
                dt { "Id" } dd.mono { (key.id) }
                dt { "Role" } dd { (key.role.replace('_', " ")) @if key.payloads { ", sees payloads" } }
            }
            p.note { "A program sends it as " code { "Authorization: Bearer clc_…" } "; a person logs in with it." }
        }
        section.btns { a.btn href=(frame.to(home(tenant))) { "It is kept" } }
    };
    let page = Page::new("A new key", Nav::Keys, &body);
    Ok(layout::page(permit, frame, &page).into_response())
}

async fn end_any(permit: Permit<Administer>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    ended(&permit, &frame, None, &fields).await
}

async fn end(permit: Permit<Manage>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    ended(&permit, &frame, Some(permit.tenant()), &fields).await
}

async fn ended<A: Action>(
    permit: &Permit<A>,
    frame: &Frame,
    tenant: Option<&str>,
    fields: &Fields,
) -> Result<Response, Problem> {
    match keys(permit)?.end(tenant, fields.needed("key")?).await? {
        true => Ok(see(&frame.to(format!("{}?said=ended", home(tenant))))),
        false => Err(Problem::not_found("there is no such key")),
    }
}
