use std::io;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts the log on standard error. `RUST_LOG` says what is logged, `info` by default.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
