//! The part of a schema that tells which fields a type has.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::lexer::{Lexer, Token, read};
use super::{Field, Operation, OperationKind};

/// Fields of each type with the type they lead to.
#[derive(Debug, Default)]
pub struct Schema(BTreeMap<String, BTreeMap<String, String>>);

impl Schema {
    pub fn read(text: &str) -> Result<Schema, String> {
        let mut tokens = Lexer::new(read(text)?);
        let mut types = BTreeMap::new();
        while let Some(token) = tokens.next() {
            let Token::Name(word) = token else { continue };
            if !matches!(word.as_str(), "type" | "interface" | "input") {
                continue;
            }
            let Some(Token::Name(name)) = tokens.next() else { continue };
            while tokens.peek().is_some_and(|token| *token != Token::Mark('{')) {
                tokens.next();
            }
            tokens.next();
            types.insert(name, fields(&mut tokens));
        }
        Ok(Schema(types))
    }

    /// Sentences about the keys of an input that its type does not have.
    pub fn unknown_keys(&self, name: &str, input: &Value) -> Vec<String> {
        let (Some(known), Some(input)) = (self.0.get(name), input.as_object()) else { return Vec::new() };
        let unknown = input.keys().filter(|key| !known.contains_key(*key));
        unknown.map(|key| format!("{name} has no field {key}")).collect()
    }

    /// Sentences about the fields that the schema does not have. Types it does not describe are passed over.
    pub fn unknown_fields(&self, operation: &Operation) -> BTreeSet<String> {
        let root = match operation.kind {
            OperationKind::Query => "Query",
            OperationKind::Mutation => "Mutation",
        };
        let mut unknown = BTreeSet::new();
        self.check(root, &operation.fields, &mut unknown);
        unknown
    }

    fn check(&self, name: &str, asked: &[Field], unknown: &mut BTreeSet<String>) {
        let Some(known) = self.0.get(name) else { return };
        for field in asked {
            match known.get(&field.name) {
                Some(next) => self.check(next, &field.fields, unknown),
                None => {
                    unknown.insert(format!("{name} has no field {}", field.name));
                }
            }
        }
    }
}

fn fields(tokens: &mut Lexer) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Mark('}') => break,
            Token::Mark('@') => {
                tokens.next();
                skip_arguments(tokens);
            }
            Token::Name(name) => {
                skip_arguments(tokens);
                if tokens.eat(':') {
                    fields.insert(name, type_name(tokens));
                    if tokens.eat('=') {
                        tokens.next();
                    }
                }
            }
            _ => {}
        }
    }
    fields
}

fn type_name(tokens: &mut Lexer) -> String {
    while tokens.eat('[') {}
    let name = match tokens.next() {
        Some(Token::Name(name)) => name,
        _ => String::new(),
    };
    while tokens.eat(']') || tokens.eat('!') {}
    name
}

fn skip_arguments(tokens: &mut Lexer) {
    if !tokens.eat('(') {
        return;
    }
    let mut depth = 1;
    while depth > 0 {
        match tokens.next() {
            Some(Token::Mark('(')) => depth += 1,
            Some(Token::Mark(')')) => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    #[test]
    fn finds_unknown_fields() {
        let text = r#"
            "about" type Query { thing("which" id: ID! = "x"): [Thing!]! @deprecated(reason: "old") }
            type Thing implements Node & Other { id: ID! next: Thing }"#;
        let schema = Schema::read(text).unwrap();
        let ask = |query: &str| schema.unknown_fields(&super::super::parse(query, &Map::new()).unwrap());
        assert!(ask("{ thing(id: 1) { id next { next { id } } } }").is_empty());
        assert_eq!(ask("{ thing { next { wrong } } }").into_iter().collect::<Vec<_>>(), ["Thing has no field wrong"]);
    }
}
