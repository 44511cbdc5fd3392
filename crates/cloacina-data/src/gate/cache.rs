//! What was admitted, by the text that came in.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Admitted;

/// Programs send some hundred texts again and again; lists of varying length make more of them.
const TEXTS: usize = 512;

/// A longer text, as of an INSERT of many rows, seldom comes twice.
const LONGEST: usize = 8 * 1024;

/// Two generations of at most [`TEXTS`] texts. A text that is used moves to the young one; when that is full
/// it becomes the old one, and what the old one held, unused since, is gone.
#[derive(Default)]
pub(super) struct Cache {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Arc<Admitted>>,
    old: HashMap<Box<str>, Arc<Admitted>>,
}

impl Cache {
    pub(super) fn get(&self, sql: &str) -> Option<Arc<Admitted>> {
        let mut generations = self.generations.lock();
        if let Some(admitted) = generations.young.get(sql) {
            return Some(Arc::clone(admitted));
        }
        let (text, admitted) = generations.old.remove_entry(sql)?;
        generations.insert(text, Arc::clone(&admitted));
        Some(admitted)
    }

    pub(super) fn put(&self, sql: &str, admitted: &Arc<Admitted>) {
        if sql.len() <= LONGEST {
            let mut generations = self.generations.lock();
            generations.insert(sql.into(), Arc::clone(admitted));
        }
    }
}

impl Generations {
    fn insert(&mut self, text: Box<str>, admitted: Arc<Admitted>) {
        if self.young.len() >= TEXTS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, admitted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(sql: &str) -> Arc<Admitted> {
        Arc::new(Admitted {
            sql: sql.to_owned(),
            parameters: 0,
            tenant_parameter: false,
            tables: vec![],
            writes: false,
        })
    }

    #[test]
    fn a_text_that_is_used_stays_and_the_cache_is_bounded() {
        let cache = Cache::default();
        cache.put("used", &admitted("used"));
        for n in 0..TEXTS * 10 {
            cache.put(&n.to_string(), &admitted("other"));
            assert!(cache.get("used").is_some());
        }
        assert!(cache.get("0").is_none());
        let generations = cache.generations.lock();
        assert!(generations.young.len() <= TEXTS && generations.old.len() <= TEXTS);
    }

    #[test]
    fn a_long_text_is_not_kept() {
        let cache = Cache::default();
        let long = "x".repeat(LONGEST + 1);
        cache.put(&long, &admitted("long"));
        assert!(cache.get(&long).is_none());
    }
}
