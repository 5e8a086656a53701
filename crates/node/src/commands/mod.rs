//! The commands that ask a cluster.

pub(crate) mod kv;
pub(crate) mod route;
pub(crate) mod status;
pub(crate) mod table;

/// A text as a part of a query string.
fn query(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
