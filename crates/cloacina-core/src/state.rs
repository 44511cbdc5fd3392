//! What a program gives to its tasks, each value by its type: a client, a configuration.

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// A value that a task may ask for as `&T`: what a runner is given with `.state(…)`, or `TaskInfo`.
#[diagnostic::on_unimplemented(
    message = "a task cannot ask for a `&{Self}`",
    label = "cannot be shared by tasks",
    note = "a task asks for the type of what the runner is given with `.state(…)`, which is `Send + Sync + 'static` and has a size",
    note = "a trait object is given as an `Arc<dyn …>` and asked for as `&Arc<dyn …>`"
)]
pub trait Shared: Any + Send + Sync {}

#[diagnostic::do_not_recommend]
impl<T: Any + Send + Sync> Shared for T {}

/// The type of a value, with its name for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateType {
    id: TypeId,
    pub(crate) name: &'static str,
}

impl StateType {
    pub(crate) fn of<T: Any>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

/// The values by their types, for all tenants and for some of them. Clones share them.
#[derive(Clone, Default)]
pub struct State {
    values: Arc<Values>,
}

#[derive(Clone, Default)]
struct Values {
    of_all: ByType,
    of_tenants: BTreeMap<String, ByType>,
}

#[derive(Clone, Default)]
struct ByType(HashMap<TypeId, (&'static str, Arc<dyn Any + Send + Sync>)>);

impl State {
    /// Adds the value of this type for all tenants; it replaces one that was given before.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        Arc::make_mut(&mut self.values).of_all.insert(value);
    }

    /// Adds the value of this type for one tenant, instead of the one for all.
    pub fn insert_for<T: Any + Send + Sync>(&mut self, tenant: impl Into<String>, value: T) {
        Arc::make_mut(&mut self.values).of_tenants.entry(tenant.into()).or_default().insert(value);
    }

    /// The value of this type for a tenant.
    pub(crate) fn get<T: Any + Send + Sync>(&self, tenant: &str) -> Option<Arc<T>> {
        let of_tenant = self.values.of_tenants.get(tenant).and_then(ByType::get);
        of_tenant.or_else(|| self.values.of_all.get())
    }

    /// Whether there is a value of this type: for this tenant, or for all if none is named.
    pub(crate) fn has(&self, ty: StateType, tenant: Option<&str>) -> bool {
        let of_tenant = tenant.and_then(|tenant| self.values.of_tenants.get(tenant));
        of_tenant.is_some_and(|values| values.0.contains_key(&ty.id))
            || self.values.of_all.0.contains_key(&ty.id)
    }
}

impl ByType {
    fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), (type_name::<T>(), Arc::new(value)));
    }

    fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let (_, value) = self.0.get(&TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok()
    }
}

/// The types. The values may be secrets.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("of_all", &self.values.of_all)
            .field("of_tenants", &self.values.of_tenants)
            .finish()
    }
}

impl fmt::Debug for ByType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.0.values().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_gets_its_own_value_and_else_that_of_all() {
        let mut state = State::default();
        state.insert(1_u32);
        state.insert("all");
        state.insert_for("acme", 2_u32);
        let mut later = state.clone();
        later.insert(3_u32);
        let number = |state: &State, tenant| state.get::<u32>(tenant).map(|number| *number);
        assert_eq!((number(&state, "acme"), number(&state, "globex")), (Some(2), Some(1)));
        assert_eq!((number(&later, "acme"), number(&later, "globex")), (Some(2), Some(3)));
        assert_eq!(state.get::<&str>("acme").as_deref(), Some(&"all"));
        assert_eq!(state.get::<i64>("acme"), None);
    }

    #[test]
    fn only_a_value_for_all_is_there_for_every_tenant() {
        let mut state = State::default();
        state.insert_for("acme", 2_u32);
        let number = StateType::of::<u32>();
        assert!(state.has(number, Some("acme")));
        assert!(!state.has(number, Some("globex")));
        assert!(!state.has(number, None));
    }

    #[test]
    fn what_is_shown_for_debugging_holds_no_value() {
        let mut state = State::default();
        state.insert("secret".to_owned());
        state.insert_for("acme", "secret".to_owned());
        let shown = format!("{state:?}");
        assert_eq!(
            shown,
            r#"State { of_all: ["alloc::string::String"], of_tenants: {"acme": ["alloc::string::String"]} }"#
        );
    }
}
