//! Documents from a server of this program's own, which may do everything that a server must not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod documents;
mod failures;
mod file;
mod range_failures;
mod ranges;
mod redirects;
mod server;
mod tls;
