//! A client of the Hetzner Cloud API v1 (docs.hetzner.cloud): servers, images, keys and actions, with what goes wrong on the
//! way waited out or told. Must not know drivers, records or configuration: what it needs of them is given to it.

mod action;
mod call;
mod catalog;
mod client;
mod creation;
mod error;
mod exchange;
mod images;
mod keys;
mod listing;
mod orphans;
mod ownership;
mod pace;
mod server_actions;
mod server_types;
mod servers;
mod sizes;
mod token;

pub use call::Call;
pub use catalog::{Catalog, Listed};
pub use client::{Client, ENDPOINT};
pub use creation::{Found, NewServer};
pub use error::ApiError;
pub use images::Image;
pub use keys::SshKey;
pub use orphans::{Known, Orphan, OrphanKind};
pub use ownership::{CREATE, MACHINE, OWNER, Ownership};
pub use pace::Pace;
pub use server_types::{Offer, ServerType};
pub use servers::{Labels, Named, Numbered, PublicAddress, PublicNet, Server, ServerStatus};
pub use sizes::{Choice, Rounded, SizeError, Wanted, choose_type};
pub use token::{TokenError, TokenSource};
