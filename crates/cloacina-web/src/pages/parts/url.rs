//! Links: always relative, so that the pages work under any path.

use std::fmt::Write as _;

use cloacina::Uuid;

/// A part of a path, or of what stands behind the question mark.
pub(crate) fn part(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    // A browser takes such a part out of a path.
    if encoded.chars().all(|char| char == '.') { encoded.replace('.', "%2E") } else { encoded }
}

/// The pages of a tenant, from the root on.
pub(crate) fn tenant(tenant: &str) -> String {
    format!("tenants/{}", part(tenant))
}

/// The page of an execution, from the root on.
pub(crate) fn execution(of: &str, id: Uuid) -> String {
    format!("{}/executions/{id}", tenant(of))
}

/// The page of a workflow, from the root on.
pub(crate) fn workflow(of: &str, name: &str) -> String {
    format!("{}/workflows/{}", tenant(of), part(name))
}

/// The page of a schedule, from the root on.
pub(crate) fn schedule(of: &str, name: &str) -> String {
    format!("{}/schedules/{}", tenant(of), part(name))
}

/// What stands behind the question mark, of those pairs that have a value.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", part(value))).collect();
    format!("?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_holds_stays_within_its_part_of_a_link() {
        assert_eq!(part("sync-contacts/5min"), "sync-contacts%2F5min");
        assert_eq!(part("a b&c=d?e#f%\"<"), "a%20b%26c%3Dd%3Fe%23f%25%22%3C");
        assert_eq!(part("Zürich"), "Z%C3%BCrich");
        assert_eq!(part(".."), "%2E%2E");
        assert_eq!(part("a..b"), "a..b");
        assert_eq!(
            query([("state", "failed"), ("tag", ""), ("workflow", "a&b")]),
            "?state=failed&workflow=a%26b"
        );
    }
}
