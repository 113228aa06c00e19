//! What a Rust file uses: paths, words and texts, without comments, attributes and test modules. Macro bodies count.

use crate::files::SourceFile;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::iter::Peekable;

/// Something used, and where.
#[derive(Clone, Debug)]
pub struct Used {
    /// `crate::…`, `super::…` and `self::…` are resolved to a path from the crate (`crate::api::Plan`); the rest is as written.
    pub path: Vec<String>,
    pub line: usize,
}

/// What a file uses.
pub struct Code {
    pub path: String,
    pub used: Vec<Used>,
    /// Contents of string literals, as written.
    pub texts: Vec<(String, usize)>,
}

impl Used {
    /// Whether the path has these segments somewhere, in a row.
    pub fn has(&self, wanted: &str) -> bool {
        let wanted: Vec<&str> = wanted.split("::").collect();
        self.path.windows(wanted.len()).any(|window| window == wanted)
    }

    pub fn starts_with(&self, wanted: &str) -> bool {
        let wanted: Vec<&str> = wanted.split("::").collect();
        self.path.len() >= wanted.len() && self.path.iter().zip(&wanted).all(|(a, b)| a == b)
    }
}

/// Whether a file holds nothing but tests: `tests.rs` beside the module that it tests.
pub fn is_test_file(file: &SourceFile) -> bool {
    file.path.ends_with("/tests.rs") || file.path.contains("/tests/")
}

/// Reads a file under `src/`.
pub fn code(file: &SourceFile) -> Code {
    let tokens: TokenStream = file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
    let mut scan = Scan { module: module_of(&file.path), used: Vec::new(), texts: Vec::new() };
    scan.stream(tokens);
    Code { path: file.path.clone(), used: scan.used, texts: scan.texts }
}

fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

struct Scan {
    module: Vec<String>,
    used: Vec<Used>,
    texts: Vec<(String, usize)>,
}

type Tokens = Peekable<proc_macro2::token_stream::IntoIter>;

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

impl Scan {
    fn stream(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(&mut tokens),
                TokenTree::Group(group) => self.stream(group.stream()),
                TokenTree::Literal(literal) => {
                    self.texts.push((literal.to_string(), literal.span().start().line));
                }
                TokenTree::Ident(ident) if ident == "use" => self.tree(&mut tokens, &[]),
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let mut path = vec![ident.to_string()];
                    while let Some(next) = next_segment(&mut tokens) {
                        path.push(next);
                    }
                    self.push(path, line);
                }
                TokenTree::Punct(_) => {}
            }
        }
    }

    /// Steps over an attribute; over a whole item where the attribute says that it is there for tests only.
    fn attribute(&mut self, tokens: &mut Tokens) {
        if is_punct(tokens.peek(), '!') {
            tokens.next();
        }
        let Some(TokenTree::Group(group)) = tokens.next() else { return };
        let text = group.stream().to_string().replace(' ', "");
        if text != "cfg(test)" {
            return;
        }
        for token in tokens.by_ref() {
            let ends = match &token {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            if ends {
                return;
            }
        }
    }

    /// One tree of a `use`, up to its `,`, `;` or end.
    fn tree(&mut self, tokens: &mut Tokens, before: &[String]) {
        let mut path = before.to_vec();
        let mut line = 0;
        let mut renamed = false;
        for token in tokens.by_ref() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => renamed = true,
                TokenTree::Ident(ident) if !renamed => {
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".into()),
                TokenTree::Punct(punct) if [',', ';'].contains(&punct.as_char()) => break,
                TokenTree::Group(group) => {
                    let mut inner = group.stream().into_iter().peekable();
                    while inner.peek().is_some() {
                        self.tree(&mut inner, &path);
                    }
                    path.clear();
                }
                _ => {}
            }
        }
        if path.len() > before.len() {
            self.push(path, line);
        }
    }

    fn push(&mut self, path: Vec<String>, line: usize) {
        let mut from = match path[0].as_str() {
            "crate" => vec!["crate".to_owned()],
            // `self` alone is a receiver, not a module.
            "self" | "super" if path.len() > 1 => [&["crate".to_owned()], self.module.as_slice()].concat(),
            _ => {
                self.used.push(Used { path, line });
                return;
            }
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(from.pop()),
                _ => from.push(segment),
            }
        }
        self.used.push(Used { path: from, line });
    }
}

/// The next segment of a path, where `::` and a name follow.
fn next_segment(tokens: &mut Tokens) -> Option<String> {
    let mut ahead = tokens.clone();
    if !(is_punct(ahead.next().as_ref(), ':') && is_punct(ahead.next().as_ref(), ':')) {
        return None;
    }
    match ahead.next() {
        Some(TokenTree::Ident(ident)) => {
            *tokens = ahead;
            Some(ident.to_string())
        }
        _ => None,
    }
}

#[test]
fn sees_through_groups_macros_and_tests() {
    let text = r#"
        //! crate::comment
        use super::{self as up, wire::{Deploy, *}};
        #[cfg(test)] mod tests { use crate::main::x; }
        #[doc = "crate::doc"] fn f() { tokio::select! { _ = crate::clock::now() => self.g("text") } }
    "#;
    let code = code(&SourceFile { path: "src/platform/render.rs".into(), text: text.into() });
    let paths: Vec<String> = code.used.iter().map(|used| used.path.join("::")).collect();
    for wanted in [
        "crate::platform",
        "crate::platform::wire::Deploy",
        "crate::platform::wire::*",
        "crate::clock::now",
        "tokio::select",
    ] {
        assert!(paths.iter().any(|path| path == wanted), "{wanted} not in {paths:?}");
    }
    assert!(
        !paths.iter().any(|path| path.contains("main") || path.contains("doc") || path.contains("comment")),
        "{paths:?}"
    );
    assert_eq!(code.texts[0].0, "\"text\"");
}
