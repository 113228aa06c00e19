//! Words, marks, numbers and strings of GraphQL documents and schemas.
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Name(String),
    /// A single character; three dots come as one.
    Mark(char),
    Text(String),
    Number(String),
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Name(word) | Token::Number(word) => write!(out, "{word}"),
            Token::Mark(mark) => write!(out, "{mark}"),
            Token::Text(_) => write!(out, "a string"),
        }
    }
}

pub struct Lexer {
    tokens: Vec<Token>,
    at: usize,
}

impl Lexer {
    pub fn new(tokens: Vec<Token>) -> Self {
        Lexer { tokens, at: 0 }
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Goes past this mark, if it is the next token.
    pub fn eat(&mut self, mark: char) -> bool {
        let there = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(there);
        there
    }
}

impl Iterator for Lexer {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }
}

pub fn read(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ',' => 1,
            space if space.is_whitespace() || space == '\u{feff}' => space.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '.' if rest.starts_with("...") => {
                tokens.push(Token::Mark('…'));
                3
            }
            '"' => {
                let (string, length) = string(rest)?;
                tokens.push(Token::Text(string));
                length
            }
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                let length = run(rest, |letter| letter.is_ascii_alphanumeric() || letter == '_');
                tokens.push(Token::Name(rest[..length].to_string()));
                length
            }
            digit if digit.is_ascii_digit() || digit == '-' => {
                let length = 1 + run(&rest[1..], |letter| letter.is_ascii_alphanumeric() || ".+-".contains(letter));
                tokens.push(Token::Number(rest[..length].to_string()));
                length
            }
            mark if "!$&()[]{}:=@|".contains(mark) => {
                tokens.push(Token::Mark(mark));
                1
            }
            other => return Err(format!("unexpected character {other}")),
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn run(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|letter| !wanted(letter)).unwrap_or(text.len())
}

/// A string at the beginning of `text`, and how many bytes it takes there.
fn string(text: &str) -> Result<(String, usize), String> {
    const BLOCK: &str = "\"\"\"";
    if let Some(block) = text.strip_prefix(BLOCK) {
        let end = block.find(BLOCK).ok_or("a block string without end")?;
        return Ok((block[..end].to_string(), end + 2 * BLOCK.len()));
    }
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => {
                let quoted = &text[..=at];
                let read = serde_json::from_str(quoted).map_err(|fault| fault.to_string())?;
                return Ok((read, quoted.len()));
            }
            '\n' => break,
            _ => escaped = letter == '\\' && !escaped,
        }
    }
    Err("a string without end".into())
}
