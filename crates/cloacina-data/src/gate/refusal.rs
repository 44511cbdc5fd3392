//! Why a statement is not sent.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use sqlparser::tokenizer::{Token, Tokenizer};

use super::Dialect;

/// The longest part of a statement that a refusal shows, in characters.
const SHOWN: usize = 80;

/// A statement that was not sent, and why.
///
/// The part of the statement is shortened and holds no text literal: what a program wrote into a statement
/// may be a secret, while the refusal goes to a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the statement was not sent: `{part}` {reason}; {instead}")]
pub struct Refusal {
    part: String,
    reason: &'static str,
    instead: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(
        dialect: Dialect,
        part: impl Display,
        reason: &'static str,
        instead: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { part: without_literals(dialect, &part.to_string()), reason, instead: instead.into() }
    }

    /// The part of the statement that was refused.
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Why it was refused.
    pub fn reason(&self) -> &str {
        self.reason
    }

    /// What is allowed instead.
    pub fn instead(&self) -> &str {
        &self.instead
    }
}

/// The text with `'…'` for each literal, shortened.
fn without_literals(dialect: Dialect, part: &str) -> String {
    let Ok(tokens) = Tokenizer::new(dialect.parser(), part).tokenize() else {
        return "…".to_owned();
    };
    let mut shown = String::new();
    for token in tokens {
        match token {
            Token::Whitespace(_) => shown.push(' '),
            // To SQLite a dollar-quoted text is a parameter with a name.
            Token::Placeholder(name) if name.chars().skip(1).any(|c| !c.is_ascii_digit()) => {
                shown.push_str("'…'");
            }
            token if is_literal(&token) => shown.push_str("'…'"),
            // The whole part is between such quotes.
            Token::Word(name) if name.quote_style == Some('`') => {
                let _infallible = write!(shown, "\"{}\"", name.value);
            }
            token => shown.push_str(&token.to_string()),
        }
        if shown.len() > SHOWN * 4 {
            break;
        }
    }
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    match shown.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn is_literal(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::QuoteDelimitedStringLiteral(_)
            | Token::NationalQuoteDelimitedStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::CopyData { .. }
    )
}
