//! A program in the place of `virsh`, for tests of what is made of its answers. Must not ask a libvirt.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Libvirt, Virsh, connection};

/// A script in a folder of its own, in which it also runs: its words are `$*` without those that every call has.
pub(super) struct StandIn {
    folder: tempfile::TempDir,
}

impl StandIn {
    pub(super) fn new(script: &str) -> Self {
        let stand_in = Self { folder: tempfile::tempdir().unwrap() };
        stand_in.answer(script);
        stand_in
    }

    /// From now on it answers so.
    pub(super) fn answer(&self, script: &str) {
        let folder = self.folder.path().display();
        let begin = format!("#!/bin/sh\ncd {folder}\nenv > environment\nshift 3\necho \"$*\" >> asked");
        self.write("script", &format!("{begin}\n{script}\n"));
        // By another program: a file that this one has open for writing, in whichever thread's child, cannot be executed.
        let mut install = Command::new("install");
        install.args(["--mode", "700"]).arg(self.folder.path().join("script"));
        assert!(install.arg(self.program()).status().unwrap().success());
    }

    pub(super) fn program(&self) -> PathBuf {
        self.folder.path().join("virsh")
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn virsh(&self) -> Virsh {
        Virsh::new(self.program().as_os_str(), connection::of(Some(OsStr::new("qemu:///system"))).unwrap())
    }

    pub(super) fn libvirt(&self) -> Libvirt {
        Libvirt::new(self.program(), Some("qemu:///system".into()))
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }
}
