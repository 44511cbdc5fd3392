//! What both macros ask of the function they stand on.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Error, Item, ItemFn, Result, Signature};

/// The function that `item` is.
pub(crate) fn parse(macro_name: &str, item: TokenStream) -> Result<ItemFn> {
    match syn::parse2(item)? {
        Item::Fn(function) => Ok(function),
        other => Err(Error::new_spanned(other, format!("`#[{macro_name}]` goes on a function"))),
    }
}

/// Refuses what neither a task nor a workflow can have.
pub(crate) fn check(what: &str, signature: &Signature, errors: &mut Errors) {
    if signature.generics.lt_token.is_some() || signature.generics.where_clause.is_some() {
        let generics: &dyn ToTokens = if signature.generics.lt_token.is_some() {
            &signature.generics
        } else {
            &signature.generics.where_clause
        };
        errors.add(Error::new_spanned(
            generics,
            format!("a {what} cannot be generic, not even over a lifetime"),
        ));
    }
    if let Some(keyword) = &signature.constness {
        errors.add(Error::new_spanned(keyword, format!("a {what} cannot be `const`: remove it")));
    }
    if let Some(keyword) = &signature.unsafety {
        errors.add(Error::new_spanned(
            keyword,
            format!("a {what} cannot be `unsafe`, since the engine calls it: remove it"),
        ));
    }
    if let Some(abi) = &signature.abi {
        errors.add(Error::new_spanned(abi, format!("a {what} cannot be `extern`: remove it")));
    }
    if let Some(variadic) = &signature.variadic {
        errors.add(Error::new_spanned(variadic, format!("a {what} cannot be variadic")));
    }
}

/// Collects errors, so that all of them are shown at once.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl ToTokens for Errors {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        if let Some(errors) = &self.0 {
            errors.to_compile_error().to_tokens(tokens);
        }
    }
}
