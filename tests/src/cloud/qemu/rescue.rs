//! The rescue system: kernel, a root in memory, sshd. It has no program that looks for disks, and mounts none.

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use super::disk::run;
use crate::cloud::machines::{Failure, Rescue};

/// What finds the network, the disks, their filesystems and chance, besides what these need.
const MODULES: [&str; 7] = ["virtio_pci", "virtio_net", "virtio_rng", "virtio_blk", "virtio_scsi", "sd_mod", "ext4"];

const INIT: &str = include_str!("rescue-init.sh");
const SSHD: &str = "HostKey /etc/ssh/ssh_host_ed25519_key\nAuthorizedKeysFile /root/.ssh/authorized_keys\nPermitRootLogin yes\n\
                    UsePAM no\nUseDNS no\nPidFile none\nSubsystem sftp /usr/lib/openssh/sftp-server\n";

/// Makes the root of the rescue system from a golden image's folder, with nobody in it.
pub(super) fn build(image: &Path, archive: &Path) -> Result<(), Failure> {
    let root = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let root = root.path();
    run(Command::new("cp").args(["-a", "--no-target-directory"]).arg(image.join("programs")).arg(root))?;
    for folder in ["proc", "sys", "dev", "run", "tmp", "root", "mnt", "modules", "etc/ssh", "var/empty"] {
        made(fs::create_dir_all(root.join(folder)), folder)?;
    }
    let modules = modules(&image.join("modules"))?;
    for (number, module) in modules.iter().enumerate() {
        let to = format!("modules/{number:02}.ko");
        made(fs::copy(image.join("modules").join(module), root.join(&to)).map(drop), module)?;
    }
    write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/bin/false\n", 0o644)?;
    write(root, "etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    write(root, "etc/shells", "/bin/bash\n/bin/sh\n", 0o644)?;
    write(root, "etc/ssh/sshd_config", SSHD, 0o644)?;
    write(root, "init", INIT, 0o755)?;
    write(root, "usr/sbin/reboot", "#!/bin/sh\nsync\necho b >/proc/sysrq-trigger\n", 0o755)?;
    pack(root, archive)
}

/// What is put behind the root for one boot: who may log in.
pub(super) fn access(rescue: &Rescue, archive: &Path) -> Result<(), Failure> {
    let root = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let root = root.path();
    for folder in ["etc", "root/.ssh"] {
        made(fs::create_dir_all(root.join(folder)), folder)?;
    }
    let hash = hash(&rescue.password)?;
    write(root, "etc/shadow", &format!("root:{hash}:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n"), 0o600)?;
    if rescue.uses_disk {
        write(root, "uses-disk", "", 0o600)?;
    }
    let keys: String = rescue.keys.iter().map(|key| format!("{key}\n")).collect();
    write(root, "root/.ssh/authorized_keys", &keys, 0o600)?;
    for folder in ["root", "root/.ssh"] {
        made(fs::set_permissions(root.join(folder), Permissions::from_mode(0o700)), folder)?;
    }
    pack(root, archive)
}

fn made(result: std::io::Result<()>, what: &str) -> Result<(), Failure> {
    result.map_err(|error| format!("cannot make {what} of the rescue system: {error}"))
}

fn write(root: &Path, file: &str, text: &str, mode: u32) -> Result<(), Failure> {
    let path = root.join(file);
    made(fs::write(&path, text), file)?;
    made(fs::set_permissions(&path, Permissions::from_mode(mode)), file)
}

/// The hash of a password, which is on no command line.
fn hash(password: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| format!("openssl cannot hash a password: {error}");
    let mut command = Command::new("openssl");
    command.args(["passwd", "-6", "-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // What it has not read, it makes no hash of, as is seen below.
        writeln!(input, "{password}").unwrap_or_default();
    }
    let output = child.wait_with_output().map_err(failed)?;
    let hash = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && hash.starts_with("$6$") { Ok(hash) } else { Err("openssl made no hash".to_owned()) }
}

/// The modules and all that they need, in the order in which they can be loaded.
fn modules(folder: &Path) -> Result<Vec<String>, Failure> {
    let list = fs::read_to_string(folder.join("modules.dep"));
    let list = list.map_err(|error| format!("cannot read modules.dep in {}: {error}", folder.display()))?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let is = |path: &str, name: &str| {
        let file = path.rsplit('/').next().unwrap_or_default().replace('-', "_");
        file.strip_suffix(".ko") == Some(name)
    };
    let mut ordered: Vec<String> = Vec::new();
    for name in MODULES {
        let line = list.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is(path, name));
        match line {
            // What it needs stands behind it, the last of them first to be loaded.
            Some((path, needs)) => {
                let needs = needs.split_whitespace().rev().chain([path]);
                for module in needs.map(str::to_owned) {
                    if !ordered.contains(&module) {
                        ordered.push(module);
                    }
                }
            }
            None if builtin.lines().any(|path| is(path, name)) => {}
            None => return Err(format!("{} has no module {name}", folder.display())),
        }
    }
    Ok(ordered)
}

/// An archive as the kernel unpacks it.
fn pack(root: &Path, archive: &Path) -> Result<(), Failure> {
    let file = File::create(archive).map_err(|error| format!("cannot write {}: {error}", archive.display()))?;
    let script = "find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --quiet -o0 -H newc -R 0:0";
    let output = Command::new("sh").args(["-c", script]).current_dir(root).stdout(file).output();
    let output = output.map_err(|error| format!("sh does not start: {error}"))?;
    // A pipe ends with the status of its last part; the archive says whether the first one worked.
    if output.status.success() && output.stderr.is_empty() {
        return Ok(());
    }
    Err(format!("the rescue system was not packed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
