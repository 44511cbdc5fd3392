//! Where a person says who they are.

use maud::{Markup, html};

use super::layout::{self, Frame};

/// The page that asks for a key.
pub(super) async fn page(frame: Frame) -> Markup {
    show(&frame, None)
}

/// The same, and why it was not let in.
pub(crate) fn show(frame: &Frame, refused: Option<&str>) -> Markup {
    let back = frame.param("back").unwrap_or_default();
    let body = html! {
        header { h1 { "Log in" } p.lede { "With a key that an admin made for you." } }
        @if let Some(refused) = refused {
            section { div.say.fail role="alert" { p { (refused) } } }
        }
        form.form.narrow method="post" action=(frame.to("login")) {
            input type="hidden" name="back" value=(back);
            label.grow {
                "Key"
                input type="password" name="key" required autocomplete="current-password" placeholder="clc_…" autofocus;
            }
            button.btn.go { "Log in" }
        }
        p.note {
            "The key is exchanged for a session that ends when you log out. Make keys with "
            code { "cloacina keys create" } "."
        }
    };
    layout::bare(frame, "Log in", &body)
}
