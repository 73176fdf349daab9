//! `known-hosts`: what SSH clients are told of the machines' host keys. Must not write a client's file: only its owner knows which.

use cloud_machine_operation::host_certificate::{self, KnownHosts};
use cloud_machine_store::Store;

use crate::{
    arguments::KnownHosts as Asked,
    failure::Failure,
    ui::{Show, Ui},
};

impl Show for KnownHosts {
    const KIND: &'static str = "known-hosts";

    fn table(&self) -> String {
        let lines: Vec<&str> = self.authority.iter().chain(&self.revoked).map(String::as_str).collect();
        lines.join("\n")
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, asked: &Asked) -> Result<(), Failure> {
    ui.result(&host_certificate::known_hosts(store, asked.hosts.as_deref())?)
}
