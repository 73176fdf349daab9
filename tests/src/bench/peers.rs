//! The peers: real programs of Debian that read the same kind of document, unpacked by `setup/install --bench`. Each is
//! only ever asked to judge a file.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::measure::Subject;

/// Variable with the folder of the unpacked packages; `make bench` sets it.
const FOLDER: &str = "CLOUD_MACHINE_BENCH_PEERS";

/// Where the peers are.
#[derive(Clone, Debug)]
pub struct Peers {
    folder: PathBuf,
}

impl Peers {
    /// From the environment.
    ///
    /// # Errors
    /// A text that names what is missing.
    pub fn from_environment() -> Result<Self, String> {
        let hint = "run `make bench`, which unpacks the peers and sets it";
        let folder = env::var_os(FOLDER).map(PathBuf::from).ok_or_else(|| format!("{FOLDER} is not set: {hint}"))?;
        let peers = Self { folder };
        for program in [peers.cloud_init_program(), peers.ignition_program()] {
            if !program.exists() {
                return Err(format!("{} is absent: {hint}", program.display()));
            }
        }
        Ok(peers)
    }

    /// `cloud-init schema` on `document`.
    #[must_use]
    pub fn cloud_init(&self, folder: &Path, document: &Path) -> Subject {
        Subject::new(self.cloud_init_program(), folder)
            .variable("PYTHONPATH", self.folder.join("usr/lib/python3/dist-packages"))
            .arguments(["schema".as_ref(), "--config-file".as_ref(), document.as_os_str()])
    }

    /// `ignition-validate` on `document`, which prints nothing about a good one.
    #[must_use]
    pub fn ignition(&self, folder: &Path, document: &Path) -> Subject {
        Subject::new(self.ignition_program(), folder).arguments([document])
    }

    /// Names and versions of the packages, one a line.
    ///
    /// # Errors
    /// When the list that was made with the unpacked packages cannot be read.
    pub fn versions(&self) -> Result<String, String> {
        let path = self.folder.join("versions");
        fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))
    }

    fn cloud_init_program(&self) -> PathBuf {
        self.folder.join("usr/bin/cloud-init")
    }

    fn ignition_program(&self) -> PathBuf {
        self.folder.join("usr/bin/ignition-validate")
    }
}
