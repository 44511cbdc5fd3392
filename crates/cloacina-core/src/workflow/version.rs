//! Which of two versions of a workflow is the newer one.

use std::cmp::Ordering;

/// The order of versions by age, the oldest first; only equal texts are equal.
pub(crate) fn by_age(one: Option<&str>, other: Option<&str>) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else { return one.cmp(&other) };
    let parts = |text| Parts { rest: text };
    parts(one).cmp(parts(other)).then_with(|| one.cmp(other))
}

/// A text, cut where digits begin and end.
struct Parts<'a> {
    rest: &'a str,
}

/// Numbers are older than texts; they compare by their length without leading zeros, then digit by digit.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(usize, &'a str),
    Text(&'a str),
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let first = self.rest.chars().next()?;
        let is_number = first.is_ascii_digit();
        let end = self.rest.find(|char: char| char.is_ascii_digit() != is_number).unwrap_or(self.rest.len());
        let (part, rest) = self.rest.split_at(end);
        self.rest = rest;
        if !is_number {
            return Some(Part::Text(part));
        }
        let digits = part.trim_start_matches('0');
        Some(Part::Number(digits.len(), digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_the_last() {
        let order = [
            None,
            Some("1"),
            Some("1.9"),
            Some("1.10"),
            Some("1.10-rc"),
            Some("2"),
            Some("9"),
            Some("10"),
            Some("2026-02-01"),
            Some("2026-11-30"),
            Some("99999999999999999999999999"),
            Some("v2"),
            Some("v10"),
        ];
        for pair in order.windows(2) {
            assert_eq!(by_age(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(by_age(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn versions_that_mean_the_same_are_told_apart_by_their_text() {
        assert_eq!(by_age(Some("1.0"), Some("1.0")), Ordering::Equal);
        assert_ne!(by_age(Some("1.0"), Some("1.00")), Ordering::Equal);
    }
}
