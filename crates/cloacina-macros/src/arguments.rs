//! The arguments of `#[task(…)]`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Lit, LitInt, LitStr, Path, Result, Token};

use crate::duration;
use crate::function::Errors;

/// The longest id, in bytes; the same limit as the engine's.
const MAX_ID: usize = 200;

const ARGUMENTS: &[&str] =
    &["id", "dependencies", "map", "parallel", "tolerate", "retry", "timeout", "rule", "blocking"];
const RETRY_ARGUMENTS: &[&str] = &["attempts", "backoff", "base", "cap", "jitter"];

const BACKOFFS: &[(&str, &str)] = &[("exponential", "Exponential"), ("linear", "Linear"), ("fixed", "Fixed")];
const JITTERS: &[(&str, &str)] = &[("full", "Full"), ("none", "None")];
const RULES: &[(&str, &str)] = &[
    ("all_success", "AllSuccess"),
    ("all_done", "AllDone"),
    ("any_success", "AnySuccess"),
    ("any_failed", "AnyFailed"),
    ("none_failed", "NoneFailed"),
];

/// The arguments of `#[task(…)]`. Each is `None` where it is not given, or wrong.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) id: Option<LitStr>,
    pub(crate) dependencies: Vec<Dependency>,
    /// The key of the list for whose items it runs.
    pub(crate) map: Option<LitStr>,
    pub(crate) parallel: Option<LitInt>,
    pub(crate) tolerate: Option<Lit>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Timeout>,
    /// The variant of `TriggerRule`.
    pub(crate) rule: Option<Ident>,
    pub(crate) blocking: Option<Ident>,
}

pub(crate) enum Dependency {
    Id(LitStr),
    Task(Path),
}

pub(crate) enum Retry {
    Never,
    Policy {
        attempts: Option<u32>,
        backoff: Option<Ident>,
        base: Option<Duration>,
        cap: Option<Duration>,
        jitter: Option<Ident>,
    },
}

pub(crate) enum Timeout {
    Never,
    After(Duration),
}

impl Arguments {
    /// The arguments that are right; what is wrong goes to `errors`.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut arguments = Self::default();
        let parser = |input: ParseStream<'_>| {
            list(input, ARGUMENTS, errors, |key, input, errors| arguments.parse_one(key, input, errors));
            Ok(())
        };
        if let Err(error) = parser.parse2(tokens) {
            errors.add(error);
        }
        if arguments.map.is_none() {
            let given = [
                arguments.parallel.as_ref().map(|given| ("parallel", given.span())),
                arguments.tolerate.as_ref().map(|given| ("tolerate", given.span())),
            ];
            for (key, span) in given.into_iter().flatten() {
                let hint = format!(
                    "`{key}` is for a task that runs for each item of a list: add `map = \"…\"`, the key of the list"
                );
                errors.add(Error::new(span, hint));
            }
        }
        arguments
    }

    fn parse_one(&mut self, key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        match key.to_string().as_str() {
            "id" => self.id = Some(id(equals(key, "id = \"…\"", input)?)?),
            "dependencies" => self.dependencies = dependencies(key, input)?,
            "map" => {
                let list = equals(key, "map = \"images\"", input)?;
                let list: LitStr = list.parse().map_err(|error| {
                    Error::new(
                        error.span(),
                        "a map names the key of a list in the context: `map = \"images\"`",
                    )
                })?;
                self.map = Some(list);
            }
            "parallel" => self.parallel = Some(parallel(equals(key, "parallel = 64", input)?)?),
            "tolerate" => self.tolerate = Some(tolerance(equals(key, "tolerate = \"2%\"", input)?)?),
            "retry" => self.retry = Some(retry(key, input, errors)?),
            "timeout" => self.timeout = Some(timeout(equals(key, "timeout = \"30s\"", input)?)?),
            "rule" => self.rule = Some(one_of("rule", RULES, equals(key, "rule = all_success", input)?)?),
            _ if input.is_empty() || input.peek(Token![,]) => self.blocking = Some(key.clone()),
            _ => return Err(input.error("`blocking` stands alone, without a value")),
        }
        Ok(())
    }
}

/// Reads arguments and the commas between them. After a mistake it goes on with the next argument.
fn list(
    input: ParseStream<'_>,
    known: &[&str],
    errors: &mut Errors,
    mut parse_one: impl FnMut(&Ident, ParseStream<'_>, &mut Errors) -> Result<()>,
) {
    let mut seen: Vec<Ident> = Vec::new();
    while !input.is_empty() {
        let mut read = || {
            let key = key(input, known)?;
            if seen.contains(&key) {
                return Err(Error::new(key.span(), format!("`{key}` is given twice")));
            }
            seen.push(key.clone());
            parse_one(&key, input, errors)?;
            if input.is_empty() || input.peek(Token![,]) { Ok(()) } else { Err(input.error("expected `,`")) }
        };
        if let Err(error) = read() {
            errors.add(error);
            skip_while(input, |input| !input.peek(Token![,]));
        }
        if !input.is_empty() && input.parse::<Token![,]>().is_err() {
            return;
        }
    }
}

fn skip_while(input: ParseStream<'_>, skips: impl Fn(ParseStream<'_>) -> bool) {
    while !input.is_empty() && skips(input) && input.parse::<TokenTree>().is_ok() {}
}

fn key(input: ParseStream<'_>, known: &[&str]) -> Result<Ident> {
    let expected = format!("expected {}", alternatives(known));
    let Ok(key) = input.call(Ident::parse_any) else {
        let hint =
            if known == ARGUMENTS && input.peek(LitStr) { "; an id is written `id = \"…\"`" } else { "" };
        return Err(input.error(format!("{expected}{hint}")));
    };
    if known.contains(&key.to_string().as_str()) {
        Ok(key)
    } else {
        Err(Error::new(key.span(), format!("unknown argument `{key}`: {expected}")))
    }
}

/// Steps over the `=` between a key and its value.
fn equals<'a>(key: &Ident, example: &str, input: ParseStream<'a>) -> Result<ParseStream<'a>> {
    if input.parse::<Token![=]>().is_ok() && !input.is_empty() && !input.peek(Token![,]) {
        Ok(input)
    } else {
        Err(Error::new(key.span(), format!("`{key}` needs a value: `{example}`")))
    }
}

fn id(input: ParseStream<'_>) -> Result<LitStr> {
    let id: LitStr =
        input.parse().map_err(|error| Error::new(error.span(), "an id is a string: `id = \"…\"`"))?;
    check_id(&id)?;
    Ok(id)
}

/// Refuses what the engine would refuse.
fn check_id(id: &LitStr) -> Result<()> {
    let value = id.value();
    let problem = if value.is_empty() {
        "is empty"
    } else if value.len() > MAX_ID {
        "is longer than 200 bytes"
    } else if value.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(Error::new(id.span(), format!("this id {problem}")))
}

fn dependencies(key: &Ident, input: ParseStream<'_>) -> Result<Vec<Dependency>> {
    let input = equals(key, "dependencies = [first, \"second\"]", input)?;
    if !input.peek(syn::token::Bracket) {
        return Err(input.error("dependencies are a list, also if there is one: `dependencies = [first]`"));
    }
    let content;
    syn::bracketed!(content in input);
    let found = Punctuated::<Dependency, Token![,]>::parse_terminated_with(&content, dependency);
    let found = found.inspect_err(|_| skip_while(&content, |_| true))?;
    let mut seen: Vec<String> = Vec::new();
    for dependency in &found {
        let name = dependency.to_token_stream().to_string();
        if seen.contains(&name) {
            return Err(Error::new_spanned(dependency, "this dependency is named twice"));
        }
        seen.push(name);
    }
    Ok(found.into_iter().collect())
}

fn dependency(input: ParseStream<'_>) -> Result<Dependency> {
    const EXPECTED: &str =
        "a dependency is the path of a task, or the id of one as a string: `[first, \"second\"]`";
    if input.peek(LitStr) {
        let id: LitStr = input.parse()?;
        check_id(&id)?;
        return Ok(Dependency::Id(id));
    }
    let path = input.call(Path::parse_mod_style).map_err(|error| Error::new(error.span(), EXPECTED))?;
    if input.is_empty() || input.peek(Token![,]) {
        Ok(Dependency::Task(path))
    } else {
        Err(input.error(EXPECTED))
    }
}

fn retry(key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<Retry> {
    if input.peek(Token![=]) {
        let input = equals(key, "retry = none", input)?;
        return match input.call(Ident::parse_any) {
            Ok(none) if none == "none" => Ok(Retry::Never),
            _ => Err(Error::new(key.span(), "write `retry = none` or `retry(attempts = 5, …)`")),
        };
    }
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(key.span(), "write `retry = none` or `retry(attempts = 5, …)`"));
    }
    let content;
    syn::parenthesized!(content in input);
    let (mut attempts, mut backoff, mut jitter) = (None, None, None);
    let (mut base, mut cap) = (None, None);
    list(&content, RETRY_ARGUMENTS, errors, |key, input, _| {
        match key.to_string().as_str() {
            "attempts" => attempts = Some(count(equals(key, "attempts = 5", input)?)?),
            "backoff" => {
                backoff = Some(one_of("backoff", BACKOFFS, equals(key, "backoff = exponential", input)?)?);
            }
            "base" => base = Some(length(equals(key, "base = \"1s\"", input)?)?),
            "cap" => cap = Some(length(equals(key, "cap = \"1m\"", input)?)?),
            _ => jitter = Some(one_of("jitter", JITTERS, equals(key, "jitter = full", input)?)?),
        }
        Ok(())
    });
    // The engine's defaults, which hold for what is not given.
    let (first, _) = base.unwrap_or((Duration::from_secs(1), Span::call_site()));
    let (longest, _) = cap.unwrap_or((Duration::from_secs(60), Span::call_site()));
    if longest < first {
        let (span, hint) = match (cap, base) {
            (Some((_, span)), Some(_)) => (span, ""),
            (Some((_, span)), None) => (span, ", which is 1s if not given: add `base = \"…\"`"),
            (None, _) => {
                (base.map_or(key.span(), |(_, span)| span), ": the cap is 1m if not given, add `cap = \"…\"`")
            }
        };
        return Err(Error::new(
            span,
            format!("the longest wait, `cap`, is shorter than the first one, `base`{hint}"),
        ));
    }
    let (base, cap) = (base.map(|(base, _)| base), cap.map(|(cap, _)| cap));
    Ok(Retry::Policy { attempts, backoff, base, cap, jitter })
}

fn count(input: ParseStream<'_>) -> Result<u32> {
    let expected = "attempts are a number such as 5; the first try counts";
    let number: LitInt = input.parse().map_err(|error| Error::new(error.span(), expected))?;
    match number.base10_parse::<u32>() {
        Ok(0) => Err(Error::new(
            number.span(),
            "a task with no attempts never runs: the first try counts, so use at least 1, or `retry = none`",
        )),
        Ok(attempts) => Ok(attempts),
        Err(_) => Err(Error::new(number.span(), expected)),
    }
}

fn parallel(input: ParseStream<'_>) -> Result<LitInt> {
    let expected = "so many items run at once: a number from 1 to 10000";
    let number: LitInt = input.parse().map_err(|error| Error::new(error.span(), expected))?;
    match number.base10_parse::<u32>() {
        Ok(1..=10_000) => Ok(number),
        _ => Err(Error::new(number.span(), expected)),
    }
}

fn tolerance(input: ParseStream<'_>) -> Result<Lit> {
    let expected = "so many items may fail: a number, or a part of all such as \"2%\"";
    let tolerance: Lit = input.parse().map_err(|error| Error::new(error.span(), expected))?;
    let is_right = match &tolerance {
        Lit::Int(number) => number.base10_parse::<u32>().is_ok(),
        Lit::Str(text) => match text.value().strip_suffix('%') {
            Some(part) => part.trim().parse().is_ok_and(|part| (0.0..=100.0).contains(&part)),
            None => text.value().trim().parse::<u32>().is_ok(),
        },
        _ => false,
    };
    if is_right { Ok(tolerance) } else { Err(Error::new(tolerance.span(), expected)) }
}

fn timeout(input: ParseStream<'_>) -> Result<Timeout> {
    if input.peek(Ident) {
        let none: Ident = input.parse()?;
        return if none == "none" {
            Ok(Timeout::Never)
        } else {
            Err(Error::new(none.span(), "a timeout is a duration such as \"30s\", or `none`"))
        };
    }
    match length(input)? {
        (Duration::ZERO, span) => Err(Error::new(
            span,
            "a timeout of nothing fails every attempt; without a limit it is `timeout = none`",
        )),
        (length, _) => Ok(Timeout::After(length)),
    }
}

fn length(input: ParseStream<'_>) -> Result<(Duration, Span)> {
    let span = input.span();
    match input.parse::<Lit>() {
        Ok(Lit::Str(text)) => {
            let length =
                duration::parse(&text.value()).map_err(|problem| Error::new(text.span(), problem))?;
            Ok((length, text.span()))
        }
        _ => Err(Error::new(span, "a duration is a string such as \"250ms\", \"30s\", \"5m\" or \"1h30m\"")),
    }
}

/// One of these names, as the enum's variant.
fn one_of(what: &str, choices: &[(&str, &str)], input: ParseStream<'_>) -> Result<Ident> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let expected = format!("expected {}", alternatives(&names));
    let span = input.span();
    let Ok(name) = input.call(Ident::parse_any) else { return Err(Error::new(span, expected)) };
    match choices.iter().find(|(choice, _)| name == choice) {
        Some((_, variant)) => Ok(Ident::new(variant, name.span())),
        None => Err(Error::new(name.span(), format!("unknown {what} `{name}`: {expected}"))),
    }
}

fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

impl ToTokens for Dependency {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Id(id) => id.to_tokens(tokens),
            Self::Task(path) => path.to_tokens(tokens),
        }
    }
}

impl ToTokens for Retry {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self::Policy { attempts, backoff, base, cap, jitter } = self else {
            return tokens.extend(quote!(::cloacina::RetryPolicy::NEVER));
        };
        let attempts = attempts.map(|attempts| quote!(policy.attempts = #attempts;));
        let backoff = backoff.as_ref().map(|backoff| quote!(policy.backoff = ::cloacina::Backoff::#backoff;));
        let base = base.map(tokens_of).map(|base| quote!(policy.base = #base;));
        let cap = cap.map(tokens_of).map(|cap| quote!(policy.cap = #cap;));
        let jitter = jitter.as_ref().map(|jitter| quote!(policy.jitter = ::cloacina::Jitter::#jitter;));
        tokens.extend(quote!({
            #[allow(unused_mut)]
            let mut policy = ::cloacina::RetryPolicy::DEFAULT;
            #attempts #backoff #base #cap #jitter
            policy
        }));
    }
}

impl ToTokens for Timeout {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let limit = match self {
            Self::Never => quote!(::cloacina::__private::None),
            Self::After(length) => {
                let length = tokens_of(*length);
                quote!(::cloacina::__private::Some(#length))
            }
        };
        limit.to_tokens(tokens);
    }
}

fn tokens_of(duration: Duration) -> TokenStream {
    let milliseconds =
        u64::try_from(duration.as_millis()).expect("durations are parsed from at most 366 days");
    quote!(::cloacina::__private::Duration::from_millis(#milliseconds))
}
