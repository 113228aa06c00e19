//! Logs: JSON or for people, to standard error, filtered by `--log-filter`.

use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts logging, with the directives of `filter` over what is quiet by default. A second call does nothing.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::new(filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Human => builder.with_target(false).try_init(),
    };
}
