//! Pub/Sub's filter language, which selects the messages that a subscription passes.
//! <https://cloud.google.com/pubsub/docs/subscription-message-filter#filtering_syntax>

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// The longest filter, in bytes.
/// <https://cloud.google.com/pubsub/docs/subscription-message-filter#create_a_subscription_with_a_filter>
const LONGEST: usize = 256;

/// A filter that Pub/Sub would refuse.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the filter `{filter}` is not valid: {reason}")]
pub struct InvalidFilter {
    filter: String,
    reason: String,
}

/// Whether a subscription with this filter passes a message with these attributes.
///
/// # Errors
/// If Pub/Sub would refuse the filter. The error says why.
pub fn passes(filter: &str, attributes: &[(&str, &str)]) -> Result<bool, InvalidFilter> {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ok(Expression::parse(filter)?.passes(&attributes.collect()))
}

/// The text of a filter, and its parsed form.
pub(super) struct Filter {
    pub(super) text: String,
    expression: Expression,
}

impl Filter {
    /// Returns `None` for an empty text.
    pub(super) fn of(text: &str) -> Result<Option<Self>, InvalidFilter> {
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { text: text.to_owned(), expression: Expression::parse(text)? }))
    }

    pub(super) fn passes(&self, attributes: &BTreeMap<String, String>) -> bool {
        self.expression.passes(attributes)
    }
}

#[derive(Debug, PartialEq)]
enum Expression {
    Has(String),
    Equals(String, String),
    HasPrefix(String, String),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    fn parse(text: &str) -> Result<Self, InvalidFilter> {
        let invalid = |reason| InvalidFilter { filter: text.to_owned(), reason };
        if text.len() > LONGEST {
            return Err(invalid(format!("it is longer than {LONGEST} bytes")));
        }
        let tokens = tokens(text).map_err(invalid)?;
        let mut parser = Parser { tokens: tokens.into_iter().peekable() };
        let filter = parser.expression().map_err(invalid)?;
        match parser.tokens.next() {
            None => Ok(filter),
            Some(token) => Err(invalid(format!("{token:?} is one too many"))),
        }
    }

    fn passes(&self, attributes: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Has(key) => attributes.contains_key(key),
            Self::Equals(key, value) => attributes.get(key) == Some(value),
            Self::HasPrefix(key, prefix) => {
                attributes.get(key).is_some_and(|value| value.starts_with(prefix.as_str()))
            }
            Self::Not(filter) => !filter.passes(attributes),
            Self::All(filters) => filters.iter().all(|filter| filter.passes(attributes)),
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(attributes)),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(&'static str),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&char) = chars.peek() {
        match char {
            ' ' | '\t' | '\n' => {
                chars.next();
            }
            '"' => tokens.push(Token::Text(quoted(&mut chars)?)),
            _ if is_word(char) => {
                let mut word = String::new();
                while let Some(char) = chars.next_if(|&char| is_word(char)) {
                    word.push(char);
                }
                tokens.push(Token::Word(word));
            }
            _ => {
                chars.next();
                tokens.push(Token::Sign(match char {
                    '(' => "(",
                    ')' => ")",
                    ':' => ":",
                    '.' => ".",
                    ',' => ",",
                    '=' => "=",
                    '!' if chars.next_if_eq(&'=').is_some() => "!=",
                    _ => return Err(format!("{char:?} has no meaning outside of quotes")),
                }));
            }
        }
    }
    Ok(tokens)
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '-'
}

fn quoted(chars: &mut Peekable<Chars>) -> Result<String, String> {
    let mut text = String::new();
    chars.next();
    while let Some(char) = chars.next() {
        match char {
            '"' => return Ok(text),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                _ => return Err("after a backslash only \" and \\ are understood".to_owned()),
            },
            _ => text.push(char),
        }
    }
    Err("a quote is not closed".to_owned())
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    /// `term`, `term AND term AND ..` or `term OR term OR ..`. Pub/Sub requires parentheses if both
    /// are used.
    fn expression(&mut self) -> Result<Expression, String> {
        let first = self.term()?;
        for (word, other, combine) in
            [("AND", "OR", Expression::All as fn(_) -> _), ("OR", "AND", Expression::Any as fn(_) -> _)]
        {
            if !self.takes_word(word) {
                continue;
            }
            let mut filters = vec![first, self.term()?];
            while self.takes_word(word) {
                filters.push(self.term()?);
            }
            if self.takes_word(other) {
                return Err("AND and OR side by side need parentheses".to_owned());
            }
            return Ok(combine(filters));
        }
        Ok(first)
    }

    fn term(&mut self) -> Result<Expression, String> {
        if self.takes_word("NOT") {
            return Ok(Expression::Not(Box::new(self.term()?)));
        }
        if self.takes_sign("(") {
            let filter = self.expression()?;
            self.sign(")")?;
            return Ok(filter);
        }
        if self.takes_word("hasPrefix") {
            self.sign("(")?;
            self.attributes()?;
            self.sign(".")?;
            let key = self.key()?;
            self.sign(",")?;
            let prefix = self.text()?;
            self.sign(")")?;
            return Ok(Expression::HasPrefix(key, prefix));
        }
        self.attributes()?;
        if self.takes_sign(":") {
            return Ok(Expression::Has(self.key()?));
        }
        self.sign(".")?;
        let key = self.key()?;
        if self.takes_sign("!=") {
            return Ok(Expression::Not(Box::new(Expression::Equals(key, self.text()?))));
        }
        self.sign("=")?;
        Ok(Expression::Equals(key, self.text()?))
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(is) if is == word)).is_some()
    }

    fn takes_sign(&mut self, sign: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn attributes(&mut self) -> Result<(), String> {
        if self.takes_word("attributes") { Ok(()) } else { self.instead_of("`attributes`") }
    }

    fn sign(&mut self, sign: &'static str) -> Result<(), String> {
        if self.takes_sign(sign) { Ok(()) } else { self.instead_of(&format!("`{sign}`")) }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.tokens.next_if(|token| !matches!(token, Token::Sign(_))) {
            Some(Token::Word(key) | Token::Text(key)) => Ok(key),
            _ => self.instead_of("an attribute's name"),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.tokens.next_if(|token| matches!(token, Token::Text(_))) {
            Some(Token::Text(text)) => Ok(text),
            _ => self.instead_of("a value in quotes"),
        }
    }

    fn instead_of<T>(&mut self, wanted: &str) -> Result<T, String> {
        Err(match self.tokens.next() {
            Some(Token::Word(found) | Token::Text(found)) => format!("`{found}` instead of {wanted}"),
            Some(Token::Sign(found)) => format!("`{found}` instead of {wanted}"),
            None => format!("it ends before {wanted}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `message` lists the attributes, such as `ce-type=user.created lang=en`.
    fn passes(filter: &str, message: &str) -> bool {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        let attributes = message.split_whitespace().map(pair).collect();
        Expression::parse(filter).unwrap().passes(&attributes)
    }

    #[test]
    fn passes_the_same_messages_as_pubsub() {
        const CATALOG: &str =
            r#"NOT attributes:"ce-type" OR attributes."ce-type" = "a" OR attributes."ce-type" = "b""#;
        for (filter, message, expected) in [
            (CATALOG, "", true),
            (CATALOG, "other=1", true),
            (CATALOG, "ce-type=a", true),
            (CATALOG, "ce-type=b", true),
            (CATALOG, "ce-type=c", false),
            ("attributes:domain", "domain=", true),
            ("attributes:domain", "Domain=1", false),
            (r#"attributes.domain="com""#, "domain=com", true),
            (r#"attributes.domain="com""#, "domain=COM", false),
            (r#"attributes.domain != "com""#, "domain=org", true),
            (r#"attributes.domain != "com""#, "domain=com", false),
            // Google's own test server does the same.
            (r#"attributes.domain != "com""#, "", true),
            (r#"hasPrefix(attributes.domain, "co")"#, "domain=com", true),
            (r#"hasPrefix(attributes.domain, "co")"#, "domain=org", false),
            (r#"hasPrefix(attributes."domain", "")"#, "", false),
            (r#"attributes:a AND (attributes:b OR NOT attributes:c)"#, "a=1", true),
            (r#"attributes:a AND (attributes:b OR NOT attributes:c)"#, "a=1 c=1", false),
            (r#"attributes:a AND (attributes:b OR NOT attributes:c)"#, "b=1", false),
            (r"NOT NOT attributes:a", "a=1", true),
            (r#"NOT (attributes:a AND attributes:b)"#, "a=1", true),
            (r#"attributes."say \"hi\"" = "\\""#, r#"x=1"#, false),
        ] {
            assert_eq!(passes(filter, message), expected, "{filter} on {message:?}");
        }
    }

    #[test]
    fn refuses_the_same_filters_as_pubsub() {
        for (filter, reason) in [
            ("", "it ends before `attributes`"),
            ("attributes", "it ends before `.`"),
            ("attributes.a = b", "`b` instead of a value in quotes"),
            ("attributes.a == \"b\"", "`=` instead of a value in quotes"),
            ("attributes:a OR attributes:b AND attributes:c", "AND and OR side by side need parentheses"),
            ("attributes:a AND attributes:b OR attributes:c", "AND and OR side by side need parentheses"),
            ("attributes:a attributes:b", "Word(\"attributes\") is one too many"),
            ("attributes:a and attributes:b", "Word(\"and\") is one too many"),
            ("(attributes:a", "it ends before `)`"),
            ("attributes.a > \"b\"", "'>' has no meaning outside of quotes"),
            ("attributes.a = \"b", "a quote is not closed"),
            ("data:a", "`data` instead of `attributes`"),
            (&format!("attributes:{}", "a".repeat(246)), "it is longer than 256 bytes"),
        ] {
            assert_eq!(Expression::parse(filter).unwrap_err().reason, reason, "{filter}");
        }
    }
}
