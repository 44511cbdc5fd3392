//! From text to a tree of bounded size.

use std::collections::BTreeSet;

use sqlparser::ast::Statement;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::{Dialect, Refusal};

/// An INSERT of as many values as a database takes fits in.
const LONGEST: usize = 1024 * 1024;

/// How deep expressions and queries may lie in each other, as the parser counts.
const DEEPEST: usize = 50;

/// How many brackets may be open at once.
const OPEN: usize = 48;

/// How many operators may stand between two commas, those around an open bracket included. `a OR b OR c` is a
/// tree as deep as it is long, and whatever walks a tree (its destructor too) needs stack for its depth.
const LONGEST_CHAIN: usize = 1_000;

/// A statement that was read.
pub(super) struct Text {
    pub(super) statement: Statement,
    /// How many parameters it has, at `1..=parameters`.
    pub(super) parameters: usize,
}

impl Text {
    pub(super) fn read(dialect: Dialect, sql: &str) -> Result<Self, Refusal> {
        let refuse = |part: &str, reason, instead| Err(Refusal::new(dialect, part, reason, instead));
        if sql.len() > LONGEST {
            return refuse("…", "is longer than 1 MiB", "send the rows in several statements");
        }
        if sql.contains('\0') {
            return refuse("\\0", "is not text", "give bytes as a parameter");
        }
        let Ok(mut tokens) = Tokenizer::new(dialect.parser(), sql).tokenize_with_location() else {
            return refuse("…", "can not be read: often a quote has no end", "give text as a parameter");
        };
        check_tokens(dialect, &tokens)?;
        let parameters = number_parameters(dialect, &mut tokens)?;

        let mut parser =
            Parser::new(dialect.parser()).with_recursion_limit(DEEPEST).with_tokens_with_locations(tokens);
        match whole_statement(&mut parser) {
            Ok(statement) => Ok(Self { statement, parameters }),
            Err(error) => Err(not_understood(dialect, &parser, &error)),
        }
    }
}

/// One statement, of text that the gate itself rendered.
pub(super) fn parse(dialect: Dialect, sql: &str) -> Result<Statement, ParserError> {
    whole_statement(&mut rendered(dialect).try_with_sql(sql)?)
}

/// The parser for what the gate rendered: the rewriting puts a query around a table and brackets around a
/// condition.
pub(super) fn rendered(dialect: Dialect) -> Parser<'static> {
    Parser::new(dialect.parser()).with_recursion_limit(DEEPEST + 10)
}

fn whole_statement(parser: &mut Parser<'_>) -> Result<Statement, ParserError> {
    let statement = parser.parse_statement()?;
    parser.expect_token(&Token::EOF)?;
    Ok(statement)
}

/// Says where the parser stopped, in words that hold no literal.
fn not_understood(dialect: Dialect, parser: &Parser<'_>, error: &ParserError) -> Refusal {
    if *error == ParserError::RecursionLimitExceeded {
        return Refusal::new(dialect, "…", "is nested too deeply", "use fewer parentheses");
    }
    let next: Vec<String> = (0..8)
        .map(|n| &parser.peek_nth_token_ref(n).token)
        .take_while(|token| **token != Token::EOF)
        .map(ToString::to_string)
        .collect();
    // The parser has gone past the first word to see that it begins no statement.
    if parser.get_current_index() == 0
        && let Token::Word(first) = &parser.get_current_token().token
        && first.quote_style.is_none()
    {
        let one = "send one SELECT, INSERT, UPDATE or DELETE";
        return Refusal::new(dialect, &first.value, "begins no statement that is understood", one);
    }
    let part = if next.is_empty() { "the end of the statement".to_owned() } else { next.join(" ") };
    Refusal::new(dialect, part, "is not understood here", "look for a mistake right before it")
}

/// Refuses what could hide something from a reader, and what would make a tree too deep.
fn check_tokens(dialect: Dialect, tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    let refuse = |part: &str, reason, instead| Err(Refusal::new(dialect, part, reason, instead));
    let mut open = vec![Depth::default()];
    for TokenWithSpan { token, span: _ } in tokens {
        // A bracket closed too many is left to the parser.
        let Some(depth) = open.last_mut() else { break };
        match token {
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                return refuse("a comment", "is not allowed", "leave it out");
            }
            Token::SemiColon => {
                return refuse(";", "ends a statement", "send one statement at a time, without a semicolon");
            }
            Token::LParen | Token::LBracket => {
                open.push(Depth::default());
                if open.len() > OPEN {
                    return refuse("(", "is nested too deeply", "use fewer parentheses");
                }
            }
            Token::RParen | Token::RBracket => {
                let inner = depth.of_all();
                open.pop();
                if let Some(outer) = open.last_mut() {
                    outer.inside = outer.inside.max(inner);
                }
            }
            Token::Comma => *depth = Depth { before: depth.of_all(), ..Depth::default() },
            token if deepens(token) => depth.chain += 1,
            _ => {}
        }
        if open.last().is_some_and(|depth| depth.of_all() > LONGEST_CHAIN) {
            let part = token.to_string();
            return refuse(&part, "is one operator too many in a row", "use IN (…), or several statements");
        }
    }
    Ok(())
}

/// How deep the trees between two brackets can be at most.
#[derive(Default)]
struct Depth {
    /// Operators since the last comma.
    chain: usize,
    /// The deepest of the brackets since the last comma.
    inside: usize,
    /// The deepest tree before the last comma.
    before: usize,
}

impl Depth {
    fn of_all(&self) -> usize {
        self.before.max(self.chain + self.inside)
    }
}

/// Whether a token can put the expression before it into another one.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword && word.quote_style.is_none(),
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::EOF => false,
        _ => true,
    }
}

/// Gives SQLite's parameters their numbers, and counts the parameters.
fn number_parameters(dialect: Dialect, tokens: &mut [TokenWithSpan]) -> Result<usize, Refusal> {
    let refuse = |part: &str, reason, instead| Err(Refusal::new(dialect, part, reason, instead));
    let mut numbers = BTreeSet::new();
    for TokenWithSpan { token, span: _ } in tokens {
        let Token::Placeholder(placeholder) = token else { continue };
        match dialect {
            Dialect::Postgres => match placeholder.strip_prefix('$').and_then(number) {
                Some(number) => {
                    numbers.insert(number);
                }
                None => return refuse(placeholder, "is not a parameter", "number parameters as $1, $2, …"),
            },
            Dialect::Sqlite if placeholder == "?" => {
                numbers.insert(numbers.len() + 1);
                *placeholder = format!("?{}", numbers.len());
            }
            Dialect::Sqlite => return refuse(placeholder, "has a name or a number", "write parameters as ?"),
        }
    }
    let highest = numbers.last().copied().unwrap_or_default();
    if highest > dialect.parameters() {
        return refuse(
            "…",
            "has more parameters than the database takes",
            "send the rows in several statements",
        );
    }
    if highest != numbers.len() {
        return refuse(&format!("${highest}"), "comes after a gap", "number parameters without gaps");
    }
    Ok(highest)
}

/// A parameter's number as the databases write it: from 1, without a sign or zeros in front.
pub(super) fn number(digits: &str) -> Option<usize> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if plain { digits.parse().ok() } else { None }
}
