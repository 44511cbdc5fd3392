//! Which packages must not reach which.

use crate::cargo::{Failure, cargo};

/// The packages that `package` must not depend on, be it through others.
struct Rule {
    package: &'static str,
    /// With every feature, or with those that one gets without asking.
    all_features: bool,
    /// A name stands for the family too: `sqlx` means `sqlx-core` as well.
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        package: "cloacina-core",
        all_features: true,
        forbidden: &["tokio-postgres", "rusqlite", "sqlx", "sea-orm", "hyper", "axum", "reqwest"],
        reason: "the engine knows stores and the network only as traits",
    },
    Rule {
        package: "cloacina",
        all_features: false,
        forbidden: &["sqlx", "sea-orm"],
        reason: "who does not ask for the data layer does not pay for it",
    },
    Rule {
        package: "cloacina",
        all_features: false,
        forbidden: &["cloacina-postgres", "tokio-postgres", "rustls", "ring"],
        reason: "who has a SQLite file compiles no PostgreSQL and no TLS",
    },
    Rule {
        package: "xtask",
        all_features: true,
        forbidden: &["tokio", "cloacina-core"],
        reason: "`cargo xtask` has to build in a few seconds: make the new dependency of cloacina-testing optional",
    },
];

pub(crate) fn check() -> Result<(), Failure> {
    for rule in RULES {
        let mut tree = cargo(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
        tree.args(["--package", rule.package]);
        if rule.all_features {
            tree.arg("--all-features");
        }
        let tree = tree.output()?;
        if let Some((found, family)) = first_forbidden(&tree, rule.forbidden) {
            return Err(Failure::Other(format!(
                "{} must not depend on {family}, but reaches {found}: {}\n\nhint: `cargo tree -p {} -i {found}` tells how",
                rule.package, rule.reason, rule.package
            )));
        }
    }
    Ok(())
}

/// The first package in the output of `cargo tree` that belongs to a forbidden family, and that family.
fn first_forbidden<'a>(tree: &'a str, forbidden: &[&'a str]) -> Option<(&'a str, &'a str)> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).find_map(|package| {
        let family = forbidden.iter().find(|family| {
            package.strip_prefix(**family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })?;
        Some((package, *family))
    })
}

#[cfg(test)]
mod tests {
    use super::first_forbidden;

    #[test]
    fn a_package_of_a_forbidden_family_is_found() {
        let tree = "cloacina-core v0.1.0 (/src)\nserde v1.0.0\nsqlx-core v0.9.0\nsqlx v0.9.0 (*)\n";
        assert_eq!(first_forbidden(tree, &["axum", "sqlx"]), Some(("sqlx-core", "sqlx")));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_let_through() {
        assert_eq!(first_forbidden("hyperloglog v1.0.0\n", &["hyper"]), None);
    }
}
