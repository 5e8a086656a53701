//! A whole transport inside one process.
