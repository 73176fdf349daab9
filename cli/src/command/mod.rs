//! One file a command. Each reads the record, does its work through the driver, and returns a result to show.

pub(crate) mod adopt;
pub(crate) mod attach;
pub(crate) mod config;
pub(crate) mod console;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod gc;
pub(crate) mod image;
pub(crate) mod journal;
pub(crate) mod known_hosts;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod man_pages;
pub(crate) mod plan;
pub(crate) mod reimage;
pub(crate) mod show;
pub(crate) mod ssh;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod verify;
pub(crate) mod volume;
