//! What the system in a disk image has: looked up in the files of its root filesystem, which is read and never mounted.
//! Must not execute anything of it, nor judge whether it is enough.

use std::sync::Arc;

use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::Extent;
use cloud_machine_store::{Installed, SystemFacts};
use ext4_view::Ext4Error;

use crate::filesystem::{Filesystem, Unreadable};

/// Bytes of a file that is read as a text.
const MAX_TEXT: u64 = 32 << 20;
/// Names that are kept of a folder, and characters of a text.
const MAX_NAMES: usize = 64;
const MAX_CHARACTERS: usize = 120;

const CLOUD_INIT: &str = "/usr/bin/cloud-init";
/// Where their own installers and packages put k3s and rke2.
const RANCHER: [(&str, [&str; 3]); 2] = [
    ("k3s", ["/usr/local/bin/k3s", "/usr/bin/k3s", "/opt/bin/k3s"]),
    ("rke2", ["/usr/local/bin/rke2", "/usr/bin/rke2", "/opt/rke2/bin/rke2"]),
];
/// Where Debian's and docker.com's packages have it.
const DOCKER: [&str; 2] = ["/usr/sbin/dockerd", "/usr/bin/dockerd"];
const INIT: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/init"];
const MODULES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];
/// Folders of generators, and what of systemd's own packages is in them.
const GENERATORS: [&str; 3] = [
    "/usr/lib/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/etc/systemd/system-generators",
];
/// The file by which each program that sets up the network is known.
const NETWORK: [(&str, &str); 5] = [
    ("NetworkManager", "/usr/sbin/NetworkManager"),
    ("ifupdown", "/sbin/ifup"),
    ("netplan", "/usr/sbin/netplan"),
    ("systemd-networkd", "/usr/lib/systemd/systemd-networkd"),
    ("wicked", "/usr/sbin/wicked"),
];

/// Why a system could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The root is of a type that this program does not read.
    #[error("the root filesystem is {0}, and only ext4 is read")]
    OtherFilesystem(String),
    /// The filesystem, or a file in it, cannot be read.
    #[error("cannot read {path} of the root filesystem")]
    Read {
        /// Which file; `/` for the filesystem itself.
        path: String,
        /// What is wrong.
        #[source]
        source: Ext4Error,
    },
}

/// Looks at the system whose root of type `filesystem` is at `root` of the disk `raw`.
///
/// # Errors
/// [`FactsError`]: what cannot be read is not the same as what is not there.
pub fn of_root<R: ReadBlocks + Send + Sync + 'static>(
    raw: Arc<R>,
    root: Extent,
    filesystem: &str,
) -> Result<SystemFacts, FactsError> {
    if filesystem != "ext4" {
        return Err(FactsError::OtherFilesystem(filesystem.to_owned()));
    }
    let root = Root(Filesystem::open(raw, root)?);
    Ok(SystemFacts {
        system: root.text("/etc/os-release")?.as_deref().and_then(|text| assigned(text, "PRETTY_NAME=")),
        init: root.init()?,
        cloud_init: root.cloud_init()?,
        docker: root.docker()?,
        rancher: Some(root.rancher()?),
        kernels: root.kernels()?,
        network: root.network()?,
        generators: few(root.names(&GENERATORS)?.into_iter().filter(|name| !name.starts_with("systemd-")).collect()),
    })
}

impl From<Unreadable> for FactsError {
    fn from(Unreadable { path, source }: Unreadable) -> Self {
        Self::Read { path, source }
    }
}

/// A root filesystem.
struct Root(Filesystem);

impl Root {
    fn is_file(&self, path: &str) -> Result<bool, FactsError> {
        Ok(self.0.is_file(path)?)
    }

    /// A file that is a text; one that is too large for that says nothing.
    fn text(&self, path: &str) -> Result<Option<String>, FactsError> {
        Ok(self.0.text(path, MAX_TEXT)?)
    }

    /// Names in the folders that are there, sorted and each once.
    fn names(&self, folders: &[&str]) -> Result<Vec<String>, FactsError> {
        let mut names = Vec::new();
        for folder in folders {
            names.extend(self.0.names(folder)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names.iter().map(|name| plain(name)).collect())
    }

    /// Folders of modules that depmod(8) has seen.
    fn kernels(&self) -> Result<Vec<String>, FactsError> {
        let mut kernels = Vec::new();
        for name in self.names(&MODULES)?.into_iter().take(MAX_NAMES) {
            if self.is_file(&format!("{}/{name}/modules.dep", MODULES[0]))?
                || self.is_file(&format!("{}/{name}/modules.dep", MODULES[1]))?
            {
                kernels.push(name);
            }
        }
        Ok(kernels)
    }

    /// What the kernel would start: the first of its places where a file is, by the name of what a link leads to.
    fn init(&self) -> Result<Option<String>, FactsError> {
        for path in INIT {
            if self.is_file(path)?
                && let Some(text) = self.0.leads_to(path)?
            {
                return Ok(Some(plain(text.rsplit('/').next().unwrap_or(&text))));
            }
        }
        Ok(None)
    }

    fn cloud_init(&self) -> Result<Option<Installed>, FactsError> {
        if !self.is_file(CLOUD_INIT)? {
            return Ok(None);
        }
        // Of Debian's packages, then of those for a Python of some version.
        let mut folders = vec!["/usr/lib/python3/dist-packages".to_owned()];
        let pythons = self.names(&["/usr/lib"])?;
        folders.extend(
            pythons
                .iter()
                .filter(|name| name.starts_with("python3"))
                .map(|name| format!("/usr/lib/{name}/site-packages")),
        );
        for folder in folders {
            let text = self.text(&format!("{folder}/cloudinit/version.py"))?.unwrap_or_default();
            // What a package did not fill in still begins with `@@`.
            let packaged = assigned(&text, "_PACKAGED_VERSION = ").filter(|version| !version.starts_with("@@"));
            if let Some(version) = packaged.or_else(|| assigned(&text, "__VERSION__ = ")) {
                return Ok(Some(Installed { version: Some(version) }));
            }
        }
        Ok(Some(Installed { version: None }))
    }

    fn docker(&self) -> Result<Option<Installed>, FactsError> {
        for path in DOCKER {
            if self.is_file(path)? {
                let packages = self.text("/var/lib/dpkg/status")?.unwrap_or_default();
                let version = ["docker.io", "docker-ce"].iter().find_map(|package| debian_version(&packages, package));
                return Ok(Some(Installed { version }));
            }
        }
        Ok(None)
    }

    fn rancher(&self) -> Result<Vec<String>, FactsError> {
        let mut found = Vec::new();
        for (name, paths) in RANCHER {
            for path in paths {
                if self.is_file(path)? {
                    found.push(name.to_owned());
                    break;
                }
            }
        }
        Ok(found)
    }

    fn network(&self) -> Result<Vec<String>, FactsError> {
        let mut found = Vec::new();
        for (name, path) in NETWORK {
            if self.is_file(path)? {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }
}

/// As many names as are kept, and that there were more.
fn few(mut names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    names.extend((more > 0).then(|| format!("and {more} more")));
    names
}

/// The value of the line that begins with `key`, without quotes.
fn assigned(text: &str, key: &str) -> Option<String> {
    let value = text.lines().rev().find_map(|line| line.strip_prefix(key))?.trim();
    let value = value.trim_matches(|quote| matches!(quote, '"' | '\''));
    (!value.is_empty()).then(|| plain(value))
}

/// Version of an installed package in the file of dpkg (deb822(5)).
fn debian_version(status: &str, package: &str) -> Option<String> {
    let own = format!("Package: {package}");
    let paragraph = status.split("\n\n").find(|paragraph| paragraph.lines().any(|line| line == own))?;
    // Also of a package that is held back.
    let installed = |line: &str| line.starts_with("Status: ") && line.ends_with(" ok installed");
    paragraph.lines().any(installed).then(|| assigned(paragraph, "Version: ")).flatten()
}

/// A text of an image, for one line: short, and without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_CHARACTERS).collect()
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
