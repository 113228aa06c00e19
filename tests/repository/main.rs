//! The repository held against its own rules: direction of imports, schemas, rights, chart, generated files. No network, no API server.

mod architecture;
mod cel_cases;
mod chart;
mod code;
mod failpoints;
mod files;
mod generated;
mod helm;
mod rbac;
mod schema;
mod words;
