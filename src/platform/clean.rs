//! What a platform said, made fit to stand in a status that many may read: one line, bounded, without the credential.
//!
//! Commit messages, names and states are written by anybody who can push, and by whoever answers in the platform's name.

use super::redact;
use crate::decide::facts::{Deploy, Observation, Progress};

/// Longest text of an observation.
const LONGEST_TEXT: usize = 200;
/// Longest words about a step.
const LONGEST_WORDS: usize = 500;
/// Longest id of a resource, a deploy or a commit.
const LONGEST_ID: usize = 256;
/// Longest address of a page.
const LONGEST_LINK: usize = 2048;

/// Cleans the texts of an observation. None where an id is no id: cutting it would make it another one.
pub(super) fn observation(seen: Observation, secret: &str) -> Option<Observation> {
    let ids = seen.deploys.iter().chain(&seen.current).flat_map(|deploy| [Some(&deploy.id), deploy.commit.as_ref()]);
    let all_good = ids
        .chain([Some(&seen.resource), seen.restores_to.as_ref(), seen.newest.as_ref()])
        .flatten()
        .all(|id| is_id(id));
    if !all_good {
        return None;
    }
    let clean = |deploy: Deploy| Deploy {
        message: deploy.message.map(|text| line(&text, secret, LONGEST_TEXT)),
        author: deploy.author.map(|text| line(&text, secret, LONGEST_TEXT)),
        created: deploy.created.map(|text| line(&text, secret, LONGEST_TEXT)),
        state: line(&deploy.state, secret, LONGEST_TEXT),
        link: deploy.link.filter(|link| is_link(link)),
        ..deploy
    };
    Some(Observation {
        current: seen.current.map(clean),
        deploys: seen.deploys.into_iter().map(clean).collect(),
        settings: seen.settings.into_iter().map(|(name, is)| (name, line(&is, secret, LONGEST_TEXT))).collect(),
        link: seen.link.filter(|link| is_link(link)),
        ..seen
    })
}

/// Cleans the words about a step.
pub(super) fn progress(progress: Progress, secret: &str) -> Progress {
    let clean = |text: String| line(&text, secret, LONGEST_WORDS);
    let id = |output: Option<String>| output.filter(|id| is_id(id));
    match progress {
        Progress::NotStarted => Progress::NotStarted,
        Progress::InProgress { output, message } => {
            Progress::InProgress { output: id(output), message: clean(message) }
        }
        Progress::Done { output, evidence } => Progress::Done { output: id(output), evidence: clean(evidence) },
        Progress::Failed { output, message } => Progress::Failed { output: id(output), message: clean(message) },
        Progress::Drifted { message } => Progress::Drifted { message: clean(message) },
        Progress::Unclear { message } => Progress::Unclear { message: clean(message) },
    }
}

/// An id as it may stand in a status and in an address.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_link(text: &str) -> bool {
    let plain = text.len() <= LONGEST_LINK && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && (text.starts_with("https://") || text.starts_with("http://"))
}

fn line(text: &str, secret: &str, most: usize) -> String {
    let hidden = if secret.is_empty() { text.to_string() } else { text.replace(secret, "…") };
    let one: String = hidden.chars().map(|each| if each.is_control() { ' ' } else { each }).collect();
    redact::shortened(one.trim(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, message: &str, link: &str) -> Observation {
        let deploy = Deploy {
            id: id.into(),
            message: Some(message.into()),
            state: "live".into(),
            link: Some(link.into()),
            ..Deploy::default()
        };
        Observation {
            resource: "r".into(),
            current: Some(deploy.clone()),
            deploys: vec![deploy],
            ..Observation::default()
        }
    }

    #[test]
    fn texts_become_one_bounded_line_without_the_secret() {
        let long = format!("fix\u{1b}[2J rnd_x {}", "a".repeat(1000));
        let clean = observation(seen("dep-1", &long, "javascript:alert(1)"), "rnd_x").unwrap();
        let deploy = clean.current.unwrap();
        let message = deploy.message.unwrap();
        assert!(message.starts_with("fix [2J … a") && message.chars().count() == 200, "{message}");
        assert_eq!(deploy.link, None);
    }

    #[test]
    fn an_id_is_never_cut() {
        for id in ["", "a b", "a\nb", "é", &"x".repeat(257)] {
            assert!(observation(seen(id, "", ""), "").is_none(), "{id}");
        }
    }
}
