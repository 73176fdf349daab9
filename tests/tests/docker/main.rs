//! Debian's docker, without a machine: what it says of settings, and swarms of several in namespaces.

mod settings;
mod swarm;
