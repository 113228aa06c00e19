//! Conditions: set through one helper that guards transition time, generation, order and length; compared without time.

use crate::api::{ConditionType, MESSAGE_LIMIT, Reason, Tri};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Type of the condition.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: Tri,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words; cut at [`MESSAGE_LIMIT`] bytes.
    pub message: String,
}

/// Shorthand for a [`Statement`].
pub fn say(type_: ConditionType, status: impl Into<Tri>, reason: Reason, message: impl Into<String>) -> Statement {
    Statement { type_, status: status.into(), reason, message: message.into() }
}

/// Puts a statement into the list: the transition time moves only when the status does.
pub fn set(conditions: &mut Vec<Condition>, statement: Statement, generation: i64, now: Timestamp) {
    let type_ = statement.type_.as_str();
    let status = statement.status.as_str();
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == status)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(Condition {
        type_: type_.into(),
        status: status.into(),
        reason: statement.reason.as_str().into(),
        message: clip(&statement.message),
        observed_generation: Some(generation),
        last_transition_time: since,
    });
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Cuts text at [`MESSAGE_LIMIT`] bytes, on a character, without control characters.
pub fn clip(text: &str) -> String {
    let clean: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if clean.len() <= MESSAGE_LIMIT {
        return clean;
    }
    let mut end = MESSAGE_LIMIT - '…'.len_utf8();
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &clean[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        set(&mut conditions, say(ConditionType::Ready, true, Reason::AsExpected, "fine"), 1, at(10));
        set(&mut conditions, say(ConditionType::Ready, true, Reason::AsExpected, "still fine"), 2, at(20));
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, say(ConditionType::Ready, false, Reason::Pending, "no"), 2, at(30));
        assert_eq!((conditions.len(), conditions[0].last_transition_time.0), (1, at(30)));
    }

    #[test]
    fn messages_are_cut_on_a_character() {
        for before in ["", "a"] {
            let cut = clip(&format!("{before}{}", "ö".repeat(MESSAGE_LIMIT)));
            let kept = cut.strip_suffix('…').expect("it says that it was cut");
            assert!((MESSAGE_LIMIT - 1..=MESSAGE_LIMIT).contains(&cut.len()), "{}", cut.len());
            assert!(kept.trim_start_matches('a').chars().all(|letter| letter == 'ö'));
        }
        let whole = "a".repeat(MESSAGE_LIMIT);
        assert_eq!(clip(&whole), whole);
        assert_eq!(clip("a\nb"), "a b");
    }
}
