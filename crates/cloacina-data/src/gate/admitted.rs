//! What the gate lets through.

/// A statement as the database may receive it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// What to send.
    pub(crate) sql: String,
    /// How many values the caller has to give, at `1..=parameters`.
    pub(crate) parameters: usize,
    /// Whether the tenant's id has to follow them, at `parameters + 1`.
    pub(crate) tenant_parameter: bool,
    /// The declared tables it touches, sorted, each once.
    pub(crate) tables: Vec<String>,
    /// Whether it is an INSERT, UPDATE or DELETE.
    pub(crate) writes: bool,
}

impl Admitted {
    /// Whether exactly the values that the statement names are there: one too many would stand where the
    /// tenant's id belongs.
    pub(crate) fn fits(&self, values: usize) -> bool {
        values == self.parameters
    }
}
