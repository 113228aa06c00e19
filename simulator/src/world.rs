//! Everything there is: the platforms' states and what surrounds them.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::app::Hits;
use crate::faults::Faults;
use crate::feature_flags::FeatureFlags;
use crate::github::Github;
use crate::ids::Ids;
use crate::ledger::Ledger;
use crate::locked;
use crate::netlify::Netlify;
use crate::render::Render;
use crate::settings::Settings;
use crate::tokens::Tokens;
use crate::wire::{Answer, Call, Platform};

pub struct World {
    pub address: SocketAddr,
    pub settings: Mutex<Settings>,
    pub tokens: Tokens,
    pub faults: Faults,
    pub ledger: Ledger,
    pub ids: Ids,
    pub hits: Hits,
    pub render: Mutex<Render>,
    pub netlify: Mutex<Netlify>,
    pub github: Mutex<Github>,
    pub feature_flags: Mutex<FeatureFlags>,
}

impl World {
    pub fn new(settings: Settings, address: SocketAddr, git_root: PathBuf, home: PathBuf) -> Self {
        World {
            address,
            settings: Mutex::new(settings),
            tokens: Tokens::default(),
            faults: Faults::default(),
            ledger: Ledger::default(),
            ids: Ids::default(),
            hits: Hits::default(),
            render: Mutex::default(),
            netlify: Mutex::default(),
            github: Mutex::new(Github::new(git_root, home)),
            feature_flags: Mutex::default(),
        }
    }

    pub fn settings(&self) -> Settings {
        locked(&self.settings).clone()
    }

    /// The platform's answer, with its effects done and written down.
    pub fn answer(&self, call: &Call) -> Answer {
        match call.platform {
            Platform::Render => crate::render::answer(self, call),
            Platform::Netlify => crate::netlify::answer(self, call),
            Platform::Github => crate::github::answer(self, call),
            Platform::FeatureFlags => crate::feature_flags::answer(self, call),
            Platform::Hooks => crate::hooks::answer(self, call),
        }
    }

    /// A refusal of this status in the platform's own shape.
    pub fn refusal(&self, platform: Platform, status: u16, message: &str) -> Answer {
        match platform {
            Platform::Render => crate::render::refusal(status, message),
            Platform::Netlify => crate::netlify::refusal(status, message),
            Platform::Github => crate::github::refusal(status, message),
            Platform::FeatureFlags => crate::feature_flags::refusal(status, message),
            Platform::Hooks => crate::hooks::refusal(status, message),
        }
    }
}
