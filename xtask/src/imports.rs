//! What a module defines, imports and names, as its text says it.

use std::collections::{BTreeSet, HashSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// What the text of a module says, without what is there for tests.
#[derive(Default)]
pub(crate) struct Contents {
    /// The names that it defines, but for modules.
    pub(crate) items: HashSet<String>,
    /// The modules in it, with what is in those that have no file of their own.
    pub(crate) modules: Vec<(String, Option<Contents>)>,
    pub(crate) imports: Vec<Import>,
    /// What looks like a path in its code.
    pub(crate) paths: BTreeSet<Vec<String>>,
}

/// A name that a `use` brings in.
pub(crate) struct Import {
    /// `None`: all that there are.
    pub(crate) name: Option<String>,
    pub(crate) path: Vec<String>,
    pub(crate) is_export: bool,
}

impl Contents {
    pub(crate) fn of(items: Vec<Item>) -> Self {
        let mut contents = Self::default();
        for item in items.into_iter().filter(|item| !attributes(item).iter().any(is_for_tests)) {
            if let Item::Mod(module) = item {
                let inside = module.content.map(|(_, items)| Self::of(items));
                contents.modules.push((module.ident.to_string(), inside));
            } else {
                contents.items.extend(name_of(&item));
                contents.take(item.to_token_stream());
            }
        }
        contents
    }

    /// Notes what an item imports and names.
    fn take(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let before = at.checked_sub(1).map(|before| &tokens[before]);
            match token {
                TokenTree::Group(group) => self.take(group.stream()),
                TokenTree::Punct(punct)
                    if punct.as_char() == '#' && is_test_attribute(tokens.get(at + 1)) =>
                {
                    at = end_of_item(&tokens, at);
                    continue;
                }
                TokenTree::Ident(_) if is_word(token, "use") && !is_punct(tokens.get(at + 1), '<') => {
                    let end = (at..tokens.len())
                        .find(|at| is_punct(tokens.get(*at), ';'))
                        .unwrap_or(tokens.len() - 1);
                    // `pub` and `pub(crate)` stand before it.
                    let start =
                        (0..at).rev().find(|at| !is_visibility(&tokens[*at])).map_or(0, |before| before + 1);
                    if let Ok(import) = syn::parse2::<ItemUse>(tokens[start..=end].iter().cloned().collect())
                    {
                        self.import(&import);
                    }
                    at = end + 1;
                    continue;
                }
                TokenTree::Ident(word) => {
                    let mut path = vec![word.to_string()];
                    let goes_on = is_punct(before, ':') && at > 1 && is_punct(tokens.get(at - 2), ':');
                    let is_named_here =
                        is_punct(before, '.') || before.is_some_and(|before| is_word(before, "fn"));
                    while let [colon, other, TokenTree::Ident(word), ..] = &tokens[at + 1..]
                        && is_punct(Some(colon), ':')
                        && is_punct(Some(other), ':')
                    {
                        path.push(word.to_string());
                        at += 3;
                    }
                    let is_field = path.len() == 1
                        && is_punct(tokens.get(at + 1), ':')
                        && !is_punct(tokens.get(at + 2), ':');
                    if !goes_on && !is_named_here && !is_field {
                        self.paths.insert(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn import(&mut self, import: &ItemUse) {
        if import.leading_colon.is_none() {
            let is_export = !matches!(import.vis, Visibility::Inherited);
            self.import_tree(&import.tree, &mut Vec::new(), is_export);
        }
    }

    fn import_tree(&mut self, tree: &UseTree, path: &mut Vec<String>, is_export: bool) {
        match tree {
            UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.import_tree(&inner.tree, path, is_export);
                path.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import_tree(tree, path, is_export));
            }
            UseTree::Glob(_) => self.imports.push(Import { name: None, path: path.clone(), is_export }),
            UseTree::Name(_) | UseTree::Rename(_) => {
                let (last, name) = match tree {
                    UseTree::Rename(renamed) => (&renamed.ident, &renamed.rename),
                    UseTree::Name(named) => (&named.ident, &named.ident),
                    _ => return,
                };
                let mut path = path.clone();
                // `use a::{self}` means `a`.
                if last != "self" || path.is_empty() {
                    path.push(last.to_string());
                }
                let name = if name == "self" { path.last().cloned() } else { Some(name.to_string()) };
                self.imports.push(Import { name, path, is_export });
            }
        }
    }
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// `pub`, or what is in parentheses behind it.
fn is_visibility(token: &TokenTree) -> bool {
    is_word(token, "pub")
        || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis)
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
}

/// Whether this is what follows `#` in `#[cfg(test)]`.
fn is_test_attribute(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    group.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Where what begins at this place ends: behind its braces, its semicolon, or the comma behind a field.
fn end_of_item(tokens: &[TokenTree], start: usize) -> usize {
    let mut may_be_field = true;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        may_be_field &= !is_word(token, "fn");
        let is_body = matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_body || is_punct(Some(token), ';') || (may_be_field && is_punct(Some(token), ',')) {
            return at + 1;
        }
    }
    tokens.len()
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines.
fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}
