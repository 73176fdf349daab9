//! What is put into an image besides the agent, and the initramfs of the machine that does it. The list of files is that of
//! `initramfs/baked/install`, by a test.

use cloud_machine_config::POLICY;
use cloud_machine_initramfs::{ProgramEntry, Programs};
use cloud_machine_protocol::bake;

use crate::{
    arguments::{Bake, Generator},
    failure::{Failure, Kind},
};

/// A file of the repository.
struct File {
    path: &'static str,
    mode: u32,
    /// Who needs it; both without one.
    generator: Option<Generator>,
    bytes: &'static [u8],
}

macro_rules! file {
    ($path:literal, $mode:literal, $generator:expr, $from:literal) => {
        File {
            path: $path,
            mode: $mode,
            generator: $generator,
            bytes: include_bytes!(concat!("../../../../../", $from)),
        }
    };
}

const DRACUT: Option<Generator> = Some(Generator::Dracut);
const TOOLS: Option<Generator> = Some(Generator::InitramfsTools);
/// Where the agent is.
const AGENT: &str = "/usr/lib/cloud-machine/cloud-machine-agent";

#[rustfmt::skip]
const FILES: [File; 16] = [
    file!("/usr/lib/cloud-machine/agent-is-off", 0o755, None, "initramfs/baked/agent-is-off"),
    file!("/usr/lib/cloud-machine/look-at-disks", 0o755, None, "initramfs/baked/look-at-disks"),
    file!("/usr/lib/cloud-machine/release-disks", 0o755, None, "initramfs/baked/release-disks"),
    file!("/usr/lib/cloud-machine/59-cloud-machine.rules", 0o644, None, "initramfs/baked/59-cloud-machine.rules"),
    file!("/usr/lib/cloud-machine/drivers-disks", 0o644, None, "initramfs/baked/drivers-disks"),
    file!("/usr/lib/cloud-machine/drivers-network", 0o644, None, "initramfs/baked/drivers-network"),
    file!("/usr/lib/cloud-machine/units/cloud-machine-agent-disks.service", 0o644, DRACUT, "systemd/cloud-machine-agent-disks.service"),
    file!("/usr/lib/cloud-machine/units/cloud-machine-agent-handover.service", 0o644, DRACUT, "systemd/cloud-machine-agent-handover.service"),
    file!("/usr/lib/cloud-machine/units/systemd-hibernate-resume@.service.d/50-cloud-machine.conf", 0o644, DRACUT,
        "systemd/systemd-hibernate-resume@.service.d/50-cloud-machine.conf"),
    file!("/usr/lib/cloud-machine/units/systemd-fsck@.service.d/50-cloud-machine.conf", 0o644, DRACUT,
        "systemd/systemd-fsck@.service.d/50-cloud-machine.conf"),
    file!("/usr/lib/cloud-machine/units/mount.d/50-cloud-machine.conf", 0o644, DRACUT, "systemd/mount.d/50-cloud-machine.conf"),
    file!("/usr/lib/cloud-machine/units/cloud-machine-agent-generator", 0o755, DRACUT, "systemd/cloud-machine-agent-generator"),
    file!("/usr/lib/dracut/modules.d/50cloud-machine/module-setup.sh", 0o755, DRACUT, "initramfs/dracut/50cloud-machine/module-setup.sh"),
    file!("/usr/share/initramfs-tools/hooks/cloud-machine", 0o755, TOOLS, "initramfs/initramfs-tools/hooks/cloud-machine"),
    file!("/usr/share/initramfs-tools/scripts/init-premount/cloud-machine", 0o755, TOOLS,
        "initramfs/initramfs-tools/scripts/init-premount/cloud-machine"),
    file!("/usr/share/initramfs-tools/scripts/init-bottom/cloud-machine", 0o755, TOOLS,
        "initramfs/initramfs-tools/scripts/init-bottom/cloud-machine"),
];

/// Where the program that stages a reimage is.
const STAGER: &str = "/usr/sbin/cloud-machine-recovery";
/// Where the service is.
const SERVICE: &str = "/usr/lib/cloud-machine/cloud-machine-agentd";

/// What else the service needs; a link to the last of the units is made beside it.
#[rustfmt::skip]
const OF_SERVICE: [File; 4] = [
    file!("/usr/lib/systemd/system/cloud-machine-agent.service", 0o644, None, "systemd/cloud-machine-agent.service"),
    file!("/usr/lib/systemd/system/cloud-machine-factory-reset.service", 0o644, None, "systemd/cloud-machine-factory-reset.service"),
    file!("/usr/share/dbus-1/system.d/org.cloud_machine.Agent1.conf", 0o644, None, "systemd/org.cloud_machine.Agent1.conf"),
    file!("/usr/share/dbus-1/system-services/org.cloud_machine.Agent1.service", 0o644, None, "systemd/org.cloud_machine.Agent1.service"),
];

/// The programs of an image.
pub(super) struct Own {
    pub(super) agent: Vec<u8>,
    pub(super) stager: Option<Vec<u8>>,
    pub(super) service: Option<Vec<u8>>,
    pub(super) policy: Option<Vec<u8>>,
}

impl Own {
    /// Mode, who needs it, path and content of each.
    fn files(&self) -> Vec<(u32, Option<Generator>, &'static str, &[u8])> {
        let listed =
            |files: &'static [File]| files.iter().map(|file| (file.mode, file.generator, file.path, file.bytes));
        let mut files = vec![(0o755, None, AGENT, &self.agent[..])];
        files.extend(listed(&FILES));
        files.extend(self.stager.iter().map(|bytes| (0o755, None, STAGER, &bytes[..])));
        if let Some(bytes) = &self.service {
            files.push((0o755, None, SERVICE, bytes));
            files.extend(listed(&OF_SERVICE));
        }
        files.extend(self.policy.iter().map(|bytes| (0o644, None, POLICY, &bytes[..])));
        files
    }
}

/// What the machine that bakes finds below [`bake::FOLDER`]: the script, what it is told, and the files with their list.
pub(super) fn folder(arguments: &Bake, own: &Own) -> Result<Programs, Failure> {
    let (files, mut list) = (own.files(), String::new());
    for (mode, whose, path, _) in &files {
        list.push_str(&format!("{mode:o} {} {path}\n", whose.map_or("both", Generator::name)));
    }
    let generator = arguments.generator.map_or("", Generator::name);
    let settings = format!("generator={generator}\n");
    let mut programs = Programs::default();
    let script = include_bytes!("../../../../../initramfs/baked/bake");
    add(&mut programs, bake::SCRIPT, true, script)?;
    add(&mut programs, "settings", false, settings.as_bytes())?;
    add(&mut programs, "files.list", false, list.as_bytes())?;
    for (mode, _, path, bytes) in files {
        add(&mut programs, &format!("files{path}"), mode & 0o111 != 0, bytes)?;
    }
    Ok(programs)
}

/// Adds a file below [`bake::FOLDER`], after the folders that hold it.
fn add(programs: &mut Programs, path: &str, executable: bool, bytes: &[u8]) -> Result<(), Failure> {
    let path = format!("{}/{path}", bake::FOLDER.trim_start_matches('/'));
    let failed = || Failure::during(Kind::Failed, "build the initramfs of the machine that bakes");
    for (at, _) in path.match_indices('/') {
        let folder = path.get(..at).unwrap_or_default();
        if !programs.has(folder) {
            programs.add(folder, ProgramEntry::Folder).map_err(failed())?;
        }
    }
    programs.add(&path, ProgramEntry::File { executable, bytes: bytes.to_vec() }).map_err(failed())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

    use super::*;

    /// What is below a folder: mode and content of each file.
    fn tree(folder: &Path, below: &Path, found: &mut BTreeMap<String, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                tree(&path, below, found);
            } else {
                let name = format!("/{}", path.strip_prefix(below).unwrap().display());
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                found.insert(name, (mode, fs::read(&path).unwrap()));
            }
        }
    }

    /// What `initramfs/baked/install` puts into a folder with `more` words.
    fn installed(folder: &Path, more: &[&str]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../initramfs/baked/install");
        let root = folder.join("root");
        for name in ["agent", "stager", "service"] {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::create_dir(&root).unwrap();
        let run = Command::new(&install).current_dir(folder).args(["--agent", "agent", "root"]).args(more).status();
        assert!(run.unwrap().success());
        let mut installed = BTreeMap::new();
        tree(&root, &root, &mut installed);
        installed
    }

    fn are_the_same(own: &Own, links: &[(&str, u32, &[u8])], generator: Generator, more: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let installed = installed(folder.path(), more);
        let ours = own.files().into_iter().filter(|(_, of, ..)| of.is_none_or(|of| of == generator));
        let mut ours: BTreeMap<String, (u32, Vec<u8>)> =
            ours.map(|(mode, _, path, bytes)| (path.to_owned(), (mode, bytes.to_vec()))).collect();
        for (path, mode, bytes) in links {
            ours.insert((*path).to_owned(), (*mode, bytes.to_vec()));
        }
        assert_eq!(ours.keys().collect::<Vec<_>>(), installed.keys().collect::<Vec<_>>());
        assert!(ours == installed, "a mode or the content of a file differs");
    }

    #[test]
    fn the_files_are_those_of_the_script_that_installs_them() {
        // Links, which the script in the machine makes, too.
        let agent = ("/usr/sbin/cloud-machine-agent", 0o755, &b"agent"[..]);
        for generator in [Generator::Dracut, Generator::InitramfsTools] {
            let own = Own { agent: b"agent".to_vec(), stager: None, service: None, policy: None };
            are_the_same(&own, &[agent], generator, &[generator.name()]);
        }
        let program = |name: &str| Some(name.as_bytes().to_vec());
        let own =
            Own { agent: b"agent".to_vec(), stager: program("stager"), service: program("service"), policy: None };
        let unit = "/usr/lib/systemd/system/factory-reset.target.wants/cloud-machine-factory-reset.service";
        let reset = OF_SERVICE[1].bytes;
        let words = ["--stager", "stager", "--service", "service", "dracut"];
        are_the_same(&own, &[agent, (unit, 0o644, reset)], Generator::Dracut, &words);
    }
}
