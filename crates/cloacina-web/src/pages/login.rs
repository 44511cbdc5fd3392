//! Where a person says who they are.

use maud::{Markup, html};

use super::layout::{self, Frame};
use super::parts::state::FAILED;

/// The page that asks for a key.
pub(super) async fn page(frame: Frame) -> Markup {
    let body = html! {
        header { h1 { "Log in" } p.lede { "With a key that an admin made for you." } }
        @if frame.param("wrong").is_some() {
            section {
                div.say.fail role="alert" {
                    p { (FAILED.word("Not let in")) " The key is not known, or it has expired or was ended." }
                }
            }
        }
        form.form.narrow method="post" action=(frame.to("login")) {
            label.grow {
                "Key"
                input type="password" name="key" required autocomplete="current-password" placeholder="clc_…";
            }
            button.btn.go { "Log in" }
        }
        p.note {
            "The key is exchanged for a session of 12 hours, which ends when you log out. Keys are made with "
            code { "cloacina keys" } ", or on the page of keys."
        }
    };
    layout::bare(&frame, "Log in", &body)
}
