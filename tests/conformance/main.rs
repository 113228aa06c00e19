//! One suite for every platform, against the simulator: what holds for all of them (`cases`), and what is special to each.

mod cases;
mod contract;
mod database;
mod feature_flags;
mod github;
mod hooks;
mod netlify;
mod postgres;
mod postgres_pause;
mod render;
mod scene;
