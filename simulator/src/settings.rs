//! What the admin API can turn while the simulator runs.
use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::wire::Platform;

/// How a secret value of Netlify is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskedAs {
    #[default]
    Empty,
    Stars,
    Absent,
}

/// What Render does with a deploy that arrives while another one runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    #[default]
    Wait,
    Override,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    pub limit: u64,
    #[serde(default = "a_minute")]
    pub window_seconds: i64,
}

fn a_minute() -> i64 {
    60
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// How long a deploy stays in each of its states.
    pub phase_millis: i64,
    /// Render answers at most so many items per page, whatever the limit asked for.
    pub render_page_cap: Option<usize>,
    pub render_overlap: Overlap,
    pub masked_as: MaskedAs,
    /// Status of Netlify's restore, cancel and set-one-context answers: the two descriptions differ.
    pub netlify_created_status: u16,
    pub netlify_lock_survives_restore: bool,
    /// Netlify shows a newly published deploy on the site only after this time.
    pub netlify_publish_delay_millis: i64,
    /// Netlify spells one scope `post_processing` in its answers.
    pub netlify_scope_underscore: bool,
    /// The header in which the flag service wants its token, and the word in front of it; empty for none.
    pub feature_flags_header: String,
    pub feature_flags_scheme: String,
    /// The flag service asks nobody for a credential.
    pub feature_flags_open: bool,
    pub rate_limit: BTreeMap<Platform, Rate>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            phase_millis: 150,
            render_page_cap: None,
            render_overlap: Overlap::Wait,
            masked_as: MaskedAs::Empty,
            netlify_created_status: 201,
            netlify_lock_survives_restore: false,
            netlify_publish_delay_millis: 0,
            netlify_scope_underscore: false,
            feature_flags_header: "authorization".into(),
            feature_flags_scheme: "Bearer".into(),
            feature_flags_open: false,
            rate_limit: BTreeMap::new(),
        }
    }
}

impl Settings {
    pub fn phase(&self) -> SignedDuration {
        SignedDuration::from_millis(self.phase_millis.max(0))
    }

    /// Calls allowed per window. The defaults are wide, so that only tests about limits meet them.
    pub fn rate(&self, platform: Platform) -> (u64, SignedDuration) {
        match self.rate_limit.get(&platform) {
            Some(rate) => (rate.limit, SignedDuration::from_secs(rate.window_seconds.max(1))),
            None => match platform {
                Platform::Render | Platform::Netlify | Platform::FeatureFlags | Platform::Hooks => {
                    (100_000, SignedDuration::from_secs(60))
                }
                Platform::Github => (1_000_000, SignedDuration::from_hours(1)),
            },
        }
    }
}
