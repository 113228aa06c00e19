//! Durations as people write them: `90s`, `15m`, `1h30m`, `30d`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Pattern of a duration: whole numbers with `d` (24 h), `h`, `m` or `s`; no sign, fraction or ms.
pub const DURATION_PATTERN: &str = "^([0-9]{1,6}(d|h|m|s))+$";

/// A duration as text. The schema holds the pattern; [`DurationText::parse`] gives the length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(pub String);

/// Why a duration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write whole numbers with d, h, m or s, such as 90s, 15m or 1h30m")]
pub struct InvalidDuration(pub String);

impl DurationText {
    /// The length of this duration.
    ///
    /// # Errors
    /// [`InvalidDuration`] where the text does not match [`DURATION_PATTERN`].
    pub fn parse(&self) -> Result<std::time::Duration, InvalidDuration> {
        let invalid = || InvalidDuration(self.0.chars().take(40).collect());
        let mut total = 0u64;
        let mut number = String::new();
        for letter in self.0.chars() {
            let unit = match letter {
                '0'..='9' => {
                    number.push(letter);
                    continue;
                }
                'd' => 86_400,
                'h' => 3_600,
                'm' => 60,
                's' => 1,
                _ => return Err(invalid()),
            };
            if number.len() > 6 {
                return Err(invalid());
            }
            total += number.parse::<u64>().map_err(|_| invalid())? * unit;
            number.clear();
        }
        if self.0.is_empty() || !number.is_empty() {
            return Err(invalid());
        }
        Ok(std::time::Duration::from_secs(total))
    }
}

impl From<&str> for DurationText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": DURATION_PATTERN, "maxLength": 32})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_pattern_allows_and_nothing_else() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5_400), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(DurationText::from(text).parse().unwrap().as_secs(), seconds, "{text}");
        }
        for text in ["", "5", "-5m", "1.5h", "1 hour", "100ms", "1234567s", "m", "5m3"] {
            assert!(DurationText::from(text).parse().is_err(), "{text:?}");
        }
    }
}
