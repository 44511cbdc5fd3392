//! Identifiers. All are UUIDs, each a type of its own so that one cannot stand in for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, a UUID of version 7: ids made later sort later.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "an id out of nowhere should be asked for by name")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// One run of a workflow.
    ExecutionId
}

id! {
    /// A customer of the service, whatever place its data lives in.
    TenantId
}

id! {
    /// One incarnation of a process's engine on one database. Never used twice, so a claim made under it
    /// cannot be mistaken for a later one.
    RunnerId
}

id! {
    /// A process that submits executions, as one that ends them tells it so.
    SubmitterId
}

id! {
    /// What starts executions by itself.
    ScheduleId
}

/// The position of a task in its workflow, in the order of declaration, from 0.
pub type TaskIndex = i16;
