//! The agent in initramfs files that initramfs-tools and dracut make: all that a boot needs is in them, and without it there is none.

use std::{fs, path::Path, process::Command};

use cloud_machine_tests::{
    artifacts::{Artifacts, baked_image},
    baked::{AGENT, BakedRoot, Generator, POLICY, Unpacked},
};

/// What an initramfs may grow by.
const LIMIT: u64 = 6 << 20;

fn same(initramfs: &Unpacked, path: &str, root: &BakedRoot, from: &str) {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(read(&initramfs.at(path)) == read(&root.path().join(from)), "{path}");
}

/// What both have, however they were made.
fn has_its_parts(initramfs: &Unpacked, root: &BakedRoot, program: &str) {
    let shared = ["look-at-disks", "release-disks", "agent-is-off"].map(|name| format!("usr/lib/cloud-machine/{name}"));
    for path in shared.iter().map(String::as_str).chain([AGENT]) {
        same(initramfs, path, root, path);
        assert!(initramfs.is_executable(path), "{path}");
    }
    same(initramfs, POLICY, root, POLICY);
    same(
        initramfs,
        "usr/lib/udev/rules.d/59-cloud-machine.rules",
        root,
        "usr/lib/cloud-machine/59-cloud-machine.rules",
    );
    same(initramfs, program, root, program);
    // A link in both, to what busybox has an applet for.
    assert!(fs::symlink_metadata(initramfs.at("usr/sbin/mkfs.ext4")).is_ok());
    same(initramfs, "usr/sbin/mke2fs", root, "usr/sbin/mke2fs");
    same(initramfs, "etc/mke2fs.conf", root, "etc/mke2fs.conf");
    let modules = walk(&initramfs.at("usr/lib/modules"));
    // Asked for by the policy; places of a volume, on whatever machine it is made.
    for module in [
        "dm-crypt.ko",
        "xts.ko",
        "isofs.ko",
        "sr_mod.ko",
        "ata_piix.ko",
        "virtio_scsi.ko",
        "virtio_net.ko",
        "virtio-rng.ko",
        "qemu_fw_cfg.ko",
    ] {
        assert!(modules.iter().any(|name| name == module), "{module} is not among {modules:?}");
    }
}

/// Names of all files below `folder`.
fn walk(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = entries.map(Result::unwrap).flat_map(|entry| {
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path())
        } else {
            vec![entry.file_name().into_string().unwrap()]
        }
    });
    names.collect()
}

fn has_scripts(initramfs: &Unpacked) {
    for (folder, before) in [("init-premount", ""), ("init-bottom", "/scripts/init-bottom/udev \"$@\"")] {
        let path = format!("scripts/{folder}/cloud-machine");
        assert!(initramfs.is_executable(&path), "{path}");
        let order = fs::read_to_string(initramfs.at(format!("scripts/{folder}/ORDER"))).unwrap();
        let ours = order.find(&format!("/{path} \"$@\"")).unwrap_or_else(|| panic!("{order}"));
        assert!(order[..ours].contains(before), "{order}");
    }
}

/// The driver of a network takes as long to load as all that the agent does, so it is there only for an address.
#[test]
fn an_initramfs_has_drivers_of_a_network_only_when_an_address_may_be_read() {
    let agent = Artifacts::from_environment_without_image().unwrap().agent;
    let root = BakedRoot::unpack(&baked_image().unwrap());
    root.install(&agent, Some("address: {allowed: []}\n"));
    for generator in Generator::ALL {
        let initramfs = Unpacked::new(&root.initramfs(generator).unwrap());
        let modules = walk(&initramfs.at("usr/lib/modules"));
        let has = |name: &str| modules.iter().any(|module| module == name);
        assert!(has("virtio_blk.ko") && has("isofs.ko") && !has("virtio_net.ko"), "{generator:?}: {modules:?}");
    }
}

/// The boot goes through each of these units, and each of them needs one of ours.
fn has_units(initramfs: &Unpacked) {
    let units = "usr/lib/systemd/system";
    let (disks, handover) = ("cloud-machine-agent-disks.service", "cloud-machine-agent-handover.service");
    for (unit, needed) in [
        ("initrd-root-device.target", disks),
        ("sysroot.mount", disks),
        ("initrd-root-fs.target", disks),
        ("initrd-parse-etc.service", handover),
        ("initrd-cleanup.service", handover),
    ] {
        let link = initramfs.at(format!("{units}/{unit}.requires/{needed}"));
        let text = fs::read_to_string(&link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        assert!(text.contains("OnFailure=emergency.target\nOnFailureJobMode=isolate\n"), "{text}");
    }
    // What is handed over depends on what `/usr` has, which may be a filesystem of its own.
    let text = fs::read_to_string(initramfs.at(format!("{units}/{handover}"))).unwrap();
    assert!(text.contains("After=initrd-fs.target\n"), "{text}");
    for unit in ["systemd-hibernate-resume@.service", "systemd-fsck@.service", "mount"] {
        let text = fs::read_to_string(initramfs.at(format!("{units}/{unit}.d/50-cloud-machine.conf"))).unwrap();
        assert!(text.ends_with(&format!("[Unit]\nAfter={disks}\n")), "{text}");
    }
    assert!(initramfs.is_executable("usr/lib/systemd/system-generators/cloud-machine-agent-generator"));
}

#[test]
fn an_initramfs_has_the_agent_and_what_its_policy_needs_and_grows_little() {
    let agent = Artifacts::from_environment_without_image().unwrap().agent;
    let root = BakedRoot::unpack(&baked_image().unwrap());
    let before = Generator::ALL.map(|generator| Unpacked::new(&root.initramfs(generator).unwrap()).packed_size());
    root.install(&agent, Some("filesystems: [ext4, xfs]\n"));
    for (generator, before) in Generator::ALL.into_iter().zip(before) {
        let initramfs = Unpacked::new(&root.initramfs(generator).unwrap());
        has_its_parts(&initramfs, &root, "usr/sbin/mkfs.xfs");
        match generator {
            Generator::InitramfsTools => has_scripts(&initramfs),
            Generator::Dracut => has_units(&initramfs),
        }
        let grown = initramfs.packed_size() - before;
        println!("{}: {before} bytes without kernel modules, and {grown} for the agent", generator.name());
        assert!(grown <= LIMIT, "{generator:?}: {grown}");
    }
}

#[test]
fn no_initramfs_is_made_without_the_agent_or_without_what_its_policy_needs() {
    let agent = Artifacts::from_environment_without_image().unwrap().agent;
    let root = BakedRoot::unpack(&baked_image().unwrap());
    let refused = |expected: &str| {
        for generator in Generator::ALL {
            let said = root.initramfs(generator).expect_err(expected);
            assert!(said.contains(expected), "{generator:?} said: {said}");
        }
    };
    root.install(&agent, Some("filesystems: [ext4, zfs]\n"));
    refused("/usr/sbin/zpool is absent, which the policy /etc/cloud-machine/agent.yaml needs");
    for program in ["usr/sbin/zpool", "usr/sbin/zfs"] {
        fs::copy(root.path().join("usr/bin/true"), root.path().join(program)).unwrap();
    }
    refused(" has no module zfs, which the policy /etc/cloud-machine/agent.yaml needs");
    root.install(&agent, Some("filesystem: ext4\n"));
    refused("the policy /etc/cloud-machine/agent.yaml is not valid: ");
    fs::remove_file(root.path().join(AGENT)).unwrap();
    refused("/usr/lib/cloud-machine/cloud-machine-agent is absent: install the package cloud-machine-agent again");
}

#[test]
fn a_script_that_is_called_wrongly_puts_nothing_into_the_root() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../initramfs/baked/install");
    let root = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["--service", "/nowhere"][..], "no service: /nowhere"),
        (&["--stager", "/nowhere"], "no stager: /nowhere"),
        (&["--generator"], "unknown option --generator"),
    ] {
        let mut command = Command::new(&script);
        let output = command.arg("--agent").arg(&script).args(arguments).arg(root.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
    let output = Command::new(&script).arg("--agent").arg(&script).arg(root.path()).arg("mkinitcpio").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown generator mkinitcpio"));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "something was put there");
}
