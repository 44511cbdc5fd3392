//! Tables, whose rows flow on narrow screens. The roles are written out because `display` changes there.

use maud::{Markup, html};

/// A column.
pub(crate) struct Column {
    pub(crate) head: Markup,
    pub(crate) class: &'static str,
}

/// A column with this heading.
pub(crate) fn column(head: &str) -> Column {
    Column { head: html! { (head) }, class: "" }
}

/// A column of numbers.
pub(crate) fn numbers(head: &str) -> Column {
    Column { head: html! { (head) }, class: "n" }
}

/// A table of rows that are rendered, with a caption for who cannot see it.
pub(crate) fn table(caption: &str, columns: &[Column], rows: &Markup) -> Markup {
    html! {
        table.stack role="table" {
            caption.vh { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns {
                        th role="columnheader" scope="col" class=[Some(column.class).filter(|class| !class.is_empty())] {
                            (column.head)
                        }
                    }
                }
            }
            tbody role="rowgroup" { (rows) }
        }
    }
}

/// What stands where nothing is.
pub(crate) fn empty(what: &str, next: &Markup) -> Markup {
    html! { div.empty { b { (what) } (next) } }
}

/// A filled bar: a part of 1.
pub(crate) fn meter(class: &str, part: f64) -> Markup {
    let width = (part.clamp(0.0, 1.0) * 1_000.0).round() / 10.0;
    html! {
        svg class={ "meter " (class) } viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="8" {}
            rect.f width=(width) height="8" {}
        }
    }
}
