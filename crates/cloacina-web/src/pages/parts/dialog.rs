//! Questions before what changes something. Each is a page of its own (`?ask=…`) for browsers without
//! JavaScript; with it, the page fetches that and shows its dialog over itself.

use maud::{Markup, html};

/// A question.
pub(crate) struct Dialog {
    /// The question itself.
    pub(crate) heading: String,
    /// What will happen, and what will not.
    pub(crate) body: Markup,
    /// Where the form goes, relative to the page.
    pub(crate) action: String,
    /// What is asked besides.
    pub(crate) fields: Markup,
    /// What the button says that does it.
    pub(crate) does: String,
    /// Whether that ends, deletes or stops something.
    pub(crate) is_bad: bool,
    /// What the other button says.
    pub(crate) keeps: &'static str,
    /// The page without the question.
    pub(crate) back: String,
}

impl Dialog {
    /// A question without more to ask.
    pub(crate) fn new(
        heading: impl Into<String>,
        action: impl Into<String>,
        does: impl Into<String>,
    ) -> Self {
        Self {
            heading: heading.into(),
            body: html! {},
            action: action.into(),
            fields: html! {},
            does: does.into(),
            is_bad: false,
            keeps: "Not now",
            back: "?".to_owned(),
        }
    }

    pub(crate) fn body(mut self, body: Markup) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn fields(mut self, fields: Markup) -> Self {
        self.fields = fields;
        self
    }

    /// It ends, deletes or stops something.
    pub(crate) fn bad(mut self, keeps: &'static str) -> Self {
        (self.is_bad, self.keeps) = (true, keeps);
        self
    }

    pub(crate) fn show(&self) -> Markup {
        html! {
            dialog id="ask" open aria-labelledby="ask-h" {
                form method="post" action=(self.action) {
                    h2 id="ask-h" { (self.heading) }
                    (self.body)
                    (self.fields)
                    div.btns {
                        a.btn href=(self.back) data-close { (self.keeps) }
                        button class=(if self.is_bad { "btn bad" } else { "btn go" }) { (self.does) }
                    }
                }
            }
        }
    }
}

/// The field for a reason.
pub(crate) fn reason() -> Markup {
    html! { label { "Reason, kept in the audit" input name="reason" required maxlength="1000"; } }
}

/// A button that leads to a question.
pub(crate) fn asks(ask: &str, label: &str, class: &str) -> Markup {
    html! { a class={ "btn " (class) } href={ "?ask=" (ask) } data-ask { (label) "…" } }
}

/// The same, but disabled, and why.
pub(crate) fn cannot(label: &str, why: &str) -> Markup {
    html! { button.btn type="button" disabled title=(why) { (label) "…" span.vh { ": " (why) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_hold_is_escaped_in_a_question() {
        let dialog = Dialog::new("Cancel <b>?", "x\"y/cancel", "Cancel <i>").bad("Keep it running");
        let shown = dialog.fields(reason()).show().into_string();
        assert!(shown.contains("Cancel &lt;b&gt;?"), "{shown}");
        assert!(shown.contains("action=\"x&quot;y/cancel\""), "{shown}");
        assert!(shown.contains("class=\"btn bad\""), "{shown}");
        assert!(!shown.contains("<i>"), "{shown}");
    }
}
