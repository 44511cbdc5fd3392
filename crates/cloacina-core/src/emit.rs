//! Lists that a task emits item by item, for a map that runs over them.

use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::TaskError;
use crate::execution::{Emitted, TaskInfo};
use crate::hub::Recording;
use crate::json;
use crate::store::MOST_ITEM_BYTES;

impl Context {
    /// Adds an item to the list of this name, for a [map](crate::workflow::Wait::map) that runs over it in a
    /// later task: `#[task(map = "images", …)]`.
    ///
    /// What is emitted never lies in the context, nor all of it in memory: it is written in pages of a
    /// thousand items or 4 MiB, while the task runs. A list has 1,000,000 items at most, of up to 64 KiB
    /// each. It is there when the task completes. What an attempt emitted that fails is not: the next one
    /// begins anew. In the context, the name stands for how many items there are.
    ///
    /// A task that takes a `&TenantTx` emits nothing: its transaction and the pages would wait for each
    /// other. Nor should one emit within a transaction that it has open.
    ///
    /// ```
    /// # use cloacina_core::{Context, TaskError};
    /// async fn list(context: &mut Context) -> Result<(), TaskError> {
    ///     for number in 0..3 {
    ///         context.emit("images", format!("{number}.png")).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cloacina_core::execution::TaskInfo;
    ///
    /// let task = TaskInfo::for_test("list");
    /// list(&mut Context::new().in_task(task.clone())).await.unwrap();
    /// assert_eq!(task.emitted("images").len(), 3);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// A fatal one if the item has no JSON form or is too large, or there are too many. What is wrong with
    /// the database, or that the attempt is over.
    pub async fn emit(&self, name: &str, item: impl Serialize) -> Result<(), TaskError> {
        let item = json::to_value(&item).map_err(|error| {
            TaskError::fatal(format!("an item of `{}` has no JSON form: {error}", name.escape_debug()))
        })?;
        self.emit_value(name, Some(item)).await
    }

    /// Emits several items, or says that the list is there and has none.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    pub async fn emit_all<T: Serialize>(
        &self,
        name: &str,
        items: impl IntoIterator<Item = T, IntoIter: Send>,
    ) -> Result<(), TaskError> {
        self.emit_value(name, None).await?;
        for item in items {
            let item = json::to_value(&item).map_err(|error| {
                TaskError::fatal(format!("an item of `{}` has no JSON form: {error}", name.escape_debug()))
            })?;
            self.emit_value(name, Some(item)).await?;
        }
        Ok(())
    }

    async fn emit_value(&self, name: &str, item: Option<Value>) -> Result<(), TaskError> {
        let task = self.try_task().ok_or_else(|| TaskError::fatal("the context is no running task's"))?;
        let item = item.map(|item| item.to_string());
        if let Some(bytes) = item.as_ref().map(String::len).filter(|bytes| *bytes > MOST_ITEM_BYTES) {
            let name = name.escape_debug();
            return Err(TaskError::fatal(format!(
                "an item of `{name}` has {bytes} bytes, and {MOST_ITEM_BYTES} are the most: keep what is large elsewhere"
            )));
        }
        match (task.engine.downcast_ref::<Emitted>(), item) {
            (Some(emitted), item) => emitted.add(name, item),
            (None, item) => Recording::of(task)?.emit(name, item).await?,
        }
        Ok(())
    }
}

impl TaskInfo {
    /// What was [emitted](Context::emit) under this name in a unit test, with the task of
    /// [`for_test`](Self::for_test).
    #[must_use]
    pub fn emitted(&self, name: &str) -> Vec<Value> {
        self.engine.downcast_ref::<Emitted>().map(|emitted| emitted.of(name)).unwrap_or_default()
    }
}
