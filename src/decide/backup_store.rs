//! `BackupStore`: what is true of it, from what was found when it was tried.

use crate::api::*;
use crate::decide::conditions::{Statement, say};

/// What was found when a store was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is not tried at the owner's wish.
    Suspended,
    /// It was written, read and cleared (`ReadWrite`), or listed (`ReadOnly`).
    Usable {
        /// Whether it may be written.
        writable: bool,
        /// Size of everything of this namespace in it.
        used: u64,
        /// Size beyond which people are warned.
        warn_above: Option<u64>,
    },
    /// It cannot be used.
    Refused {
        /// Why, in one word.
        reason: Reason,
        /// Why, in words.
        message: String,
        /// A later try may go better without anybody's help.
        temporary: bool,
    },
}

impl Finding {
    /// Whether more lies in the store than its owner expects.
    pub fn over_capacity(&self) -> bool {
        matches!(self, Self::Usable { used, warn_above: Some(limit), .. } if used > limit)
    }
}

/// The conditions that follow.
pub fn statements(finding: &Finding) -> Vec<Statement> {
    let (status, reason, message, stalled) = match finding {
        Finding::Suspended => {
            (Tri::Unknown, Reason::Suspended, "spec.suspend is true: the store is not tried".to_owned(), false)
        }
        Finding::Refused { reason, message, temporary } => (Tri::False, *reason, message.clone(), !temporary),
        Finding::Usable { writable, used, warn_above } => {
            let (reason, mut message) = match writable {
                true => (Reason::StoreWritable, "a small object was written, read back and removed".to_owned()),
                false => (
                    Reason::AsExpected,
                    "it can be read; accessMode ReadOnly: nothing is written or removed".to_owned(),
                ),
            };
            if let (true, Some(limit)) = (finding.over_capacity(), warn_above) {
                message += &format!("; {used} bytes are used, capacityWarning is {limit}");
            }
            (Tri::True, reason, message, false)
        }
    };
    let retrying = status == Tri::False && !stalled;
    vec![
        say(ConditionType::Available, status, reason, message.clone()),
        say(ConditionType::Ready, status, reason, message.clone()),
        say(ConditionType::Reconciling, retrying, reason, message.clone()),
        say(ConditionType::Stalled, stalled, reason, message),
    ]
}

/// Bytes of a Kubernetes quantity such as `500Mi`. `None`: it is none, or too large to be reached.
pub fn bytes(quantity: &str) -> Option<u64> {
    let digits = quantity.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let known = [
            ("0", 0),
            ("12", 12),
            ("3k", 3_000),
            ("3M", 3_000_000),
            ("3G", 3_000_000_000),
            ("3T", 3_000_000_000_000),
            ("2Ki", 2_048),
            ("500Mi", 524_288_000),
            ("2Gi", 2_147_483_648),
            ("2Ti", 2_199_023_255_552),
        ];
        for (text, size) in known {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "Mi", "5 Mi", "5mi", "-5", "1.5Gi", "99999999999Ti"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_said() {
        let refused = |temporary| Finding::Refused { reason: Reason::NoKey, message: "no key".into(), temporary };
        let usable = |used| Finding::Usable { writable: true, used, warn_above: Some(10) };
        let table = [
            (Finding::Suspended, ["Unknown", "Unknown", "False", "False"], Reason::Suspended),
            (refused(false), ["False", "False", "False", "True"], Reason::NoKey),
            (refused(true), ["False", "False", "True", "False"], Reason::NoKey),
            (usable(10), ["True", "True", "False", "False"], Reason::StoreWritable),
            (usable(11), ["True", "True", "False", "False"], Reason::StoreWritable),
            (
                Finding::Usable { writable: false, used: 0, warn_above: None },
                ["True", "True", "False", "False"],
                Reason::AsExpected,
            ),
        ];
        for (finding, expected, reason) in table {
            let said = statements(&finding);
            assert_eq!(said.iter().map(|one| one.status.as_str()).collect::<Vec<_>>(), expected, "{finding:?}");
            assert_eq!(said[0].reason, reason);
        }
        assert!(!usable(10).over_capacity() && usable(11).over_capacity());
        assert!(statements(&usable(11))[0].message.contains("11 bytes are used"));
    }
}
