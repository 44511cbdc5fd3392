//! Which name somebody meant who wrote another one.

/// The longest name that is compared: what is longer was not typed.
const LONGEST: usize = 100;

/// How many names a message lists at most.
const LISTED: usize = 10;

/// The name among those that are known which is most like `name`, if one is like it.
#[must_use]
pub fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    if name.len() > LONGEST {
        return None;
    }
    // A third of the letters may be wrong, and of short names one.
    let wrong = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|known| known.len() <= LONGEST)
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= wrong && *distance < known.chars().count())
        .min()
        .map(|(_, known)| known)
}

/// `did you mean …?`, or which there are, for a message about one of `what` that there is not.
#[must_use]
pub fn did_you_mean(name: &str, what: &str, known: &[&str]) -> String {
    if let Some(meant) = meant(name, known.iter().copied()) {
        return format!("did you mean `{}`?", meant.escape_debug());
    }
    let mut listed: Vec<String> =
        known.iter().take(LISTED).map(|known| format!("`{}`", known.escape_debug())).collect();
    if known.len() > LISTED {
        listed.push("…".to_owned());
    }
    match listed.len() {
        0 => format!("there is no {what}"),
        _ => format!("there is {}", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["invoice", "refund", "ship"];
        for (name, found) in [
            ("invoise", Some("invoice")),
            ("Invoice", Some("invoice")),
            ("inovice", Some("invoice")),
            ("shp", Some("ship")),
            ("refunds", Some("refund")),
            ("mail", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(meant(name, known), found, "{name}");
        }
        assert_eq!(meant(&"x".repeat(1_000), ["x"]), None);
    }

    #[test]
    fn what_there_is_stands_in_the_message() {
        assert_eq!(did_you_mean("shp", "task", &["ship"]), "did you mean `ship`?");
        assert_eq!(did_you_mean("x", "task", &["ship", "charge"]), "there is `ship`, `charge`");
        assert_eq!(did_you_mean("x", "task", &[]), "there is no task");
    }
}
