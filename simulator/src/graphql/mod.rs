//! As much of GraphQL as a client of one mutation and one query needs.
//!
//! Arguments are resolved while reading, so that what comes out holds plain values.
use serde_json::{Map, Value};

pub mod lexer;
pub mod schema;

use lexer::{Lexer, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    Query,
    Mutation,
}

#[derive(Debug)]
pub struct Operation {
    pub kind: OperationKind,
    /// Names of the variables declared as required, as `ID!`.
    pub required: Vec<String>,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    /// The name under which the answer has it.
    pub key: String,
    pub name: String,
    pub arguments: Map<String, Value>,
    pub fields: Vec<Field>,
}

/// Why a document was not understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

pub fn parse(text: &str, variables: &Map<String, Value>) -> Result<Operation, ParseError> {
    let tokens = lexer::read(text).map_err(ParseError)?;
    let mut parser = Parser { tokens: Lexer::new(tokens), variables };
    let operation = parser.operation()?;
    match parser.tokens.next() {
        None => Ok(operation),
        Some(token) => Err(ParseError(format!("one operation is read at a time; found {token}"))),
    }
}

struct Parser<'a> {
    tokens: Lexer,
    variables: &'a Map<String, Value>,
}

impl Parser<'_> {
    fn operation(&mut self) -> Result<Operation, ParseError> {
        let kind = match self.tokens.peek() {
            Some(Token::Mark('{')) => OperationKind::Query,
            Some(Token::Name(word)) if word == "query" => OperationKind::Query,
            Some(Token::Name(word)) if word == "mutation" => OperationKind::Mutation,
            other => return Err(unexpected(other)),
        };
        let mut required = Vec::new();
        if let Some(Token::Name(_)) = self.tokens.peek() {
            self.tokens.next();
            if let Some(Token::Name(_)) = self.tokens.peek() {
                self.tokens.next();
            }
            if self.tokens.eat('(') {
                required = self.declarations()?;
            }
        }
        Ok(Operation { kind, required, fields: self.selection()? })
    }

    fn declarations(&mut self) -> Result<Vec<String>, ParseError> {
        let mut required = Vec::new();
        while !self.tokens.eat(')') {
            self.expect('$')?;
            let name = self.name()?;
            self.expect(':')?;
            let mut must = false;
            loop {
                match self.tokens.peek() {
                    Some(Token::Name(_) | Token::Mark('[' | ']')) => must = false,
                    Some(Token::Mark('!')) => must = true,
                    _ => break,
                }
                self.tokens.next();
            }
            if self.tokens.eat('=') {
                self.value()?;
                must = false;
            }
            if must {
                required.push(name);
            }
        }
        Ok(required)
    }

    fn selection(&mut self) -> Result<Vec<Field>, ParseError> {
        self.expect('{')?;
        let mut fields = Vec::new();
        while !self.tokens.eat('}') {
            if self.tokens.eat('…') {
                // An inline fragment: everything here has one concrete type, so its fields join the others.
                match (self.name()?.as_str(), self.tokens.next()) {
                    ("on", Some(Token::Name(_))) => fields.extend(self.selection()?),
                    _ => return Err(ParseError("named fragments are not read here".into())),
                }
            } else {
                fields.push(self.field()?);
            }
        }
        Ok(fields)
    }

    fn field(&mut self) -> Result<Field, ParseError> {
        let first = self.name()?;
        let (key, name) = if self.tokens.eat(':') { (first, self.name()?) } else { (first.clone(), first) };
        let mut arguments = Map::new();
        if self.tokens.eat('(') {
            while !self.tokens.eat(')') {
                let argument = self.name()?;
                self.expect(':')?;
                arguments.insert(argument, self.value()?);
            }
        }
        let fields = match self.tokens.peek() {
            Some(Token::Mark('{')) => self.selection()?,
            _ => Vec::new(),
        };
        Ok(Field { key, name, arguments, fields })
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        match self.tokens.next() {
            Some(Token::Mark('$')) => {
                let name = self.name()?;
                Ok(self.variables.get(&name).cloned().unwrap_or_default())
            }
            Some(Token::Mark('[')) => {
                let mut items = Vec::new();
                while !self.tokens.eat(']') {
                    items.push(self.value()?);
                }
                Ok(Value::Array(items))
            }
            Some(Token::Mark('{')) => {
                let mut object = Map::new();
                while !self.tokens.eat('}') {
                    let name = self.name()?;
                    self.expect(':')?;
                    object.insert(name, self.value()?);
                }
                Ok(Value::Object(object))
            }
            Some(Token::Text(text)) => Ok(Value::String(text)),
            Some(Token::Number(number)) => {
                serde_json::from_str(&number).map_err(|_| ParseError(format!("{number} is not a number")))
            }
            Some(Token::Name(word)) => Ok(match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => Value::String(word),
            }),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn name(&mut self) -> Result<String, ParseError> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.tokens.eat(mark) { Ok(()) } else { Err(unexpected(self.tokens.peek())) }
    }
}

fn unexpected(token: Option<&Token>) -> ParseError {
    match token {
        Some(token) => ParseError(format!("unexpected {token}")),
        None => ParseError("unexpected end of document".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_a_mutation_with_variables() {
        let variables = json!({ "input": { "a": 1 } });
        let text = "mutation M($input: In!, $other: [Int!] = [1]) { go: doIt(input: $input, x: [\"y\"]) { id } }";
        let operation = parse(text, variables.as_object().unwrap()).unwrap();
        assert_eq!(operation.kind, OperationKind::Mutation);
        assert_eq!(operation.required, ["input"]);
        let field = &operation.fields[0];
        assert_eq!((field.key.as_str(), field.name.as_str()), ("go", "doIt"));
        assert_eq!(Value::Object(field.arguments.clone()), json!({ "input": { "a": 1 }, "x": ["y"] }));
        assert_eq!(field.fields[0].name, "id");
    }

    #[test]
    fn refuses_half_a_document() {
        assert!(parse("query { a { b }", &Map::new()).is_err());
        assert!(parse("query { a } query { b }", &Map::new()).is_err());
        assert!(parse("\"text", &Map::new()).is_err());
    }
}
