//! A world of real parts for tests and the demo: control plane, simulator, operator. Everything ends with its owner.
#![allow(dead_code)] // each test binary uses its own part

pub mod control_plane;
pub mod five;
pub mod operator;
pub mod platforms;
pub mod postgres;
pub mod scenario;
pub mod wait;
pub mod world;
