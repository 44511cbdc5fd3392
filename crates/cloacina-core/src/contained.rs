//! Panics of code that is not the engine's.
//!
//! What a task leaves behind is its code as well: the payload of its panic, its error, its future and what
//! the closure holds. Each may panic when it is dropped, and so may the payload of that panic.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Payload = Box<dyn Any + Send>;

/// Drops a value; if that panics, what it leaves behind stays in memory.
pub(crate) fn discard<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        // Its own drop may panic as well, and so on without an end.
        std::mem::forget(payload);
    }
}

/// What a panic said.
pub(crate) fn message_of(payload: Payload) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("(a value that is no text)").to_owned();
    discard(payload);
    message
}

/// Calls code that is not the engine's; otherwise: what its panic said.
pub(crate) fn call<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message_of)
}

/// A value that belongs to code that is not the engine's, and that may be dropped anywhere.
#[derive(Clone)]
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Contained<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is only empty once it is dropped")
    }
}

impl<T> DerefMut for Contained<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is only empty once it is dropped")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value whose drop panics with a value whose drop panics, and so on.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_value_that_panics_when_it_is_dropped_is_discarded() {
        discard(Bomb);
        drop(Contained::new(Bomb));
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_has_a_message_like_any_other() {
        let said = call::<()>(|| std::panic::panic_any(Bomb));
        assert_eq!(said, Err("(a value that is no text)".to_owned()));
        assert_eq!(call::<()>(|| std::panic::panic_any("text")), Err("text".to_owned()));
    }
}
