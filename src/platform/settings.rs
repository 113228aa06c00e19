//! Settings compared with what a change goes from and to.

use crate::api::SettingChange;
use crate::decide::facts::Progress;
use std::collections::BTreeMap;

/// Done where all settings are as wanted, not started where each is as before or as wanted (writing them again is harmless), drifted
/// otherwise.
pub(super) fn progress(settings: &BTreeMap<String, String>, wanted: &[SettingChange]) -> Progress {
    let of = |change: &SettingChange| settings.get(&change.name).map(String::as_str);
    let strange = wanted.iter().find(|change| of(change).is_none_or(|is| is != change.to && is != change.from));
    if let Some(change) = strange {
        let is = of(change).unwrap_or("not told by the platform");
        let SettingChange { name, from, to } = change;
        return Progress::Drifted { message: format!("{name} is {is}, neither {from} as before nor {to} as wanted") };
    }
    if wanted.iter().any(|change| of(change) != Some(change.to.as_str())) {
        return Progress::NotStarted;
    }
    let words: Vec<String> = wanted.iter().map(|change| format!("{} is {}", change.name, change.to)).collect();
    Progress::Done { output: None, evidence: words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, from: &str, to: &str) -> SettingChange {
        SettingChange { name: name.into(), from: from.into(), to: to.into() }
    }

    #[test]
    fn done_only_when_all_are_done() {
        let wanted = [change("a", "1", "2"), change("b", "yes", "no")];
        let with =
            |a: &str, b: &str| progress(&BTreeMap::from([("a".into(), a.into()), ("b".into(), b.into())]), &wanted);
        let evidence = "a is 2, b is no".into();
        assert_eq!(with("2", "no"), Progress::Done { output: None, evidence });
        assert_eq!(with("1", "yes"), Progress::NotStarted);
        assert_eq!(with("2", "yes"), Progress::NotStarted);
        assert!(matches!(with("3", "no"), Progress::Drifted { .. }));
        assert!(matches!(progress(&BTreeMap::new(), &wanted), Progress::Drifted { .. }));
    }
}
