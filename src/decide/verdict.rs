//! What a sample means for the rules that name its check, and what of it status keeps.

use crate::api::{CheckStatus, NoData, Verdict};
use crate::decide::conditions::clip;
use crate::decide::facts::Sample;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// A check that cannot be carried out for longer than this many intervals makes health unknown.
const ERROR_LIMIT: u32 = 3;

/// What follows from a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The check passes.
    Good,
    /// The check fails.
    Bad,
    /// It could not be carried out, and that says nothing.
    Nothing,
    /// It has not run since this process began.
    NotYet,
}

/// What follows from the last sample of a check. An error is no breach unless the policy says so.
pub fn conclude(sample: Option<&Sample>, no_data: NoData) -> Conclusion {
    match (sample.map(|sample| sample.verdict), no_data) {
        (None, _) => Conclusion::NotYet,
        (Some(Verdict::Pass), _) | (Some(Verdict::Error), NoData::Ok) => Conclusion::Good,
        (Some(Verdict::Breach), _) | (Some(Verdict::Error), NoData::Breach) => Conclusion::Bad,
        (Some(Verdict::Error), NoData::Unknown) => Conclusion::Nothing,
    }
}

/// What status says of a check. While a verdict stays so do its words: a code that alternates must not become a write per try. Only those of
/// an error follow: they say what to mend.
pub fn check_status(name: &str, before: Option<&CheckStatus>, sample: Option<&Sample>) -> Option<CheckStatus> {
    match (before, sample) {
        (before, None) => before.cloned(),
        (Some(before), Some(sample)) if before.verdict == sample.verdict => Some(CheckStatus {
            message: match sample.verdict {
                Verdict::Pass | Verdict::Breach => before.message.clone(),
                Verdict::Error => clip(&sample.message),
            },
            ..before.clone()
        }),
        (_, Some(sample)) => Some(CheckStatus {
            name: name.to_owned(),
            verdict: sample.verdict,
            message: clip(&sample.message),
            since: Time(sample.since),
        }),
    }
}

/// How long nothing was known between the last conclusion and this sample: errors that have just ended. That time does not count for
/// a rule, in either direction.
pub fn blind_for(before: Option<&CheckStatus>, sample: &Sample, no_data: NoData) -> Duration {
    match before {
        Some(before)
            if no_data == NoData::Unknown && before.verdict == Verdict::Error && sample.verdict != Verdict::Error =>
        {
            elapsed(before.since.0, sample.since)
        }
        _ => Duration::ZERO,
    }
}

/// When errors have lasted so long that health is unknown.
pub fn unknown_from(since: Timestamp, interval: Duration) -> Timestamp {
    later(since, interval.saturating_mul(ERROR_LIMIT))
}

/// Time from `from` to `to`; none where `to` comes first.
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Whether `moment` was at most so long ago. Another machine may have written it, whose clock is ahead: not by more than that, or it is wrong.
pub fn is_within(moment: Timestamp, now: Timestamp, slack: Duration) -> bool {
    elapsed(moment, now) <= slack && elapsed(now, moment) < slack
}

/// `at` and so long after it.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_counts_for_as_long_as_a_clock_may_be_wrong() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let within = |moment| is_within(at(moment), at(1_000), Duration::from_secs(10));
        for (moment, counts) in [(989, false), (990, true), (1_000, true), (1_009, true), (1_010, false)] {
            assert_eq!(within(moment), counts, "{moment}");
        }
    }
}
