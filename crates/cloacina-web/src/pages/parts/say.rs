//! What came of something that somebody did.

use maud::{Markup, html};

use super::state::{COMPLETED, Look};
use crate::Problem;
use crate::pages::parts::state::{CANCELLED, FAILED, PAUSED, RUNNING, WAITS_FOR_SIGNAL};

/// What a form leads to: the name goes into the address, the sentence onto the page.
const SAID: &[(&str, Look, &str, &str)] = &[
    (
        "cancelled",
        CANCELLED,
        "Cancelled",
        "Tasks that ran are told to stop; what they change now is ignored.",
    ),
    ("paused", PAUSED, "Paused", "Nothing further starts until somebody resumes it. Tasks that run go on."),
    ("resumed", RUNNING, "Resumed", "What is ready starts."),
    ("rerun", COMPLETED, "Rerun", "This is the execution that took the place of the other one."),
    ("delivered", WAITS_FOR_SIGNAL, "Delivered", "A wait for it was open and takes it."),
    ("buffered", WAITS_FOR_SIGNAL, "Kept", "No wait for it is open: the first that is reached takes it."),
    (
        "repeated",
        WAITS_FOR_SIGNAL,
        "Known",
        "It has one of this name with this key already; nothing was recorded.",
    ),
    ("over", CANCELLED, "Not sent", "The execution is over; the signal was not recorded."),
    ("answered", COMPLETED, "Answered", "The wait takes the answer and its execution goes on."),
    ("woken", COMPLETED, "Woken", "The time of the wait is over now."),
    ("parallel", COMPLETED, "Set", "So many children may be open at once from now on."),
    ("triggered", COMPLETED, "Triggered", "An execution was started."),
    (
        "skipped",
        CANCELLED,
        "Skipped",
        "The execution before is not over, and the schedule says to skip then.",
    ),
    ("waits", WAITS_FOR_SIGNAL, "Buffered", "It starts when the execution before is over."),
    ("refused", FAILED, "Refused", "The tenant has as many executions under way as it may."),
    ("put", COMPLETED, "Saved", "The schedule fires by what it says now."),
    ("backfill", RUNNING, "Begun", "The executions start one after the other, the oldest time first."),
    ("deleted", CANCELLED, "Deleted", "The schedule is gone, with its log. What it started goes on."),
    (
        "suspended",
        PAUSED,
        "Suspended",
        "Nothing is submitted or claimed until it is resumed. Nothing is lost.",
    ),
    ("activated", RUNNING, "Resumed", "The tenant goes on within a second."),
    ("limits", COMPLETED, "Set", "The limits are in force within a second."),
    ("removed", CANCELLED, "Removed", "The tenant is gone, with everything that was its own."),
    ("made", COMPLETED, "Made", "The tenant is there."),
    (
        "ended",
        CANCELLED,
        "Ended",
        "The key opens nothing from now on, and neither do the sessions made with it.",
    ),
    ("bulk", COMPLETED, "Begun", "What was asked for is done one execution after the other."),
    ("all", COMPLETED, "Done", "With all that were ticked."),
    ("stopped", CANCELLED, "Stopped", "What was done is done; the rest stays as it is."),
];

/// What a form led to, by the name in the address.
pub(crate) fn said(name: &str) -> Option<Markup> {
    let (_, look, word, sentence) = SAID.iter().find(|(known, ..)| *known == name)?;
    let look = look.clone().word(*word);
    Some(html! {
        div class={ "say " (look.class) } role="status" id="said" { p { (look) " " (sentence) } }
    })
}

/// That something was not done, and why.
pub(crate) fn failed(problem: &Problem) -> Markup {
    html! {
        div.say.fail role="alert" {
            p { (FAILED.word("Not done")) " " span.any { (problem.detail()) } }
            p.soft { (problem.kind()) " · nothing was changed" }
        }
    }
}

/// That payloads may not be seen.
pub(crate) fn hidden() -> Markup {
    html! {
        div.say.none {
            p {
                (CANCELLED.word("Values hidden"))
                " You may see names and sizes, not what tenants store. "
                span.soft { "Ask an admin for the right to see " b { "payloads" } "." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn only_what_is_known_is_said() {
        assert!(said("cancelled").unwrap().into_string().contains("told to stop"));
        assert!(said("<script>").is_none());
    }
}
