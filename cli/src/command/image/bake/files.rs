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
const FILES: [File; 12] = [
    file!("/usr/lib/cloud-machine/agent-is-off", 0o755, None, "initramfs/baked/agent-is-off"),
    file!("/usr/lib/cloud-machine/release-disks", 0o755, None, "initramfs/baked/release-disks"),
    file!("/usr/lib/cloud-machine/59-cloud-machine.rules", 0o644, None, "initramfs/baked/59-cloud-machine.rules"),
    file!("/usr/lib/cloud-machine/drivers", 0o644, None, "initramfs/baked/drivers"),
    file!("/usr/lib/cloud-machine/units/cloud-machine-agent-disks.service", 0o644, DRACUT, "systemd/cloud-machine-agent-disks.service"),
    file!("/usr/lib/cloud-machine/units/cloud-machine-agent-handover.service", 0o644, DRACUT, "systemd/cloud-machine-agent-handover.service"),
    file!("/usr/lib/cloud-machine/units/systemd-hibernate-resume@.service.d/50-cloud-machine.conf", 0o644, DRACUT,
        "systemd/systemd-hibernate-resume@.service.d/50-cloud-machine.conf"),
    file!("/usr/lib/cloud-machine/units/cloud-machine-agent-generator", 0o755, DRACUT, "systemd/cloud-machine-agent-generator"),
    file!("/usr/lib/dracut/modules.d/50cloud-machine/module-setup.sh", 0o755, DRACUT, "initramfs/dracut/50cloud-machine/module-setup.sh"),
    file!("/usr/share/initramfs-tools/hooks/cloud-machine", 0o755, TOOLS, "initramfs/initramfs-tools/hooks/cloud-machine"),
    file!("/usr/share/initramfs-tools/scripts/init-premount/cloud-machine", 0o755, TOOLS,
        "initramfs/initramfs-tools/scripts/init-premount/cloud-machine"),
    file!("/usr/share/initramfs-tools/scripts/init-bottom/cloud-machine", 0o755, TOOLS,
        "initramfs/initramfs-tools/scripts/init-bottom/cloud-machine"),
];

/// What the machine that bakes finds below [`bake::FOLDER`]: the script, what it is told, and the files with their list.
pub(super) fn folder(arguments: &Bake, agent: &[u8], policy: Option<&[u8]>) -> Result<Programs, Failure> {
    let mut list = format!("755 both {AGENT}\n");
    let mut files = vec![(AGENT, true, agent)];
    for file in &FILES {
        let whose = file.generator.map_or("both", Generator::name);
        list.push_str(&format!("{:o} {whose} {}\n", file.mode, file.path));
        files.push((file.path, file.mode & 0o111 != 0, file.bytes));
    }
    if let Some(policy) = policy {
        list.push_str(&format!("644 both {POLICY}\n"));
        files.push((POLICY, false, policy));
    }
    let generator = arguments.generator.map_or("", Generator::name);
    let settings = format!("generator={generator}\n");
    let mut programs = Programs::default();
    let script = include_bytes!("../../../../../initramfs/baked/bake");
    add(&mut programs, bake::SCRIPT, true, script)?;
    add(&mut programs, "settings", false, settings.as_bytes())?;
    add(&mut programs, "files.list", false, list.as_bytes())?;
    for (path, executable, bytes) in files {
        add(&mut programs, &format!("files{path}"), executable, bytes)?;
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

    #[test]
    fn the_files_are_those_of_the_script_that_installs_them() {
        let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../initramfs/baked/install");
        for generator in [Generator::Dracut, Generator::InitramfsTools] {
            let folder = tempfile::tempdir().unwrap();
            let (agent, root) = (folder.path().join("agent"), folder.path().join("root"));
            fs::write(&agent, "agent").unwrap();
            fs::create_dir(&root).unwrap();
            let run = Command::new(&install).arg("--agent").args([&agent, &root]).arg(generator.name()).status();
            assert!(run.unwrap().success());
            let mut installed = BTreeMap::new();
            tree(&root, &root, &mut installed);
            let ours = FILES.iter().filter(|file| file.generator.is_none_or(|of| of == generator));
            let mut ours: BTreeMap<String, (u32, Vec<u8>)> =
                ours.map(|file| (file.path.to_owned(), (file.mode, file.bytes.to_vec()))).collect();
            // The second is a link, which the script in the machine makes, too.
            for name in [AGENT, "/usr/sbin/cloud-machine-agent"] {
                ours.insert(name.to_owned(), (0o755, b"agent".to_vec()));
            }
            assert_eq!(ours.keys().collect::<Vec<_>>(), installed.keys().collect::<Vec<_>>());
            assert!(ours == installed, "a mode or the content of a file differs");
        }
    }
}
