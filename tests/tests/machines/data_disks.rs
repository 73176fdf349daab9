//! Filesystems on data disks of a real Debian machine, over its whole life: made, mounted by the booted system, kept,
//! wiped at a boot, made again at a reimage, and refused when they are not what was described. The machine is on a tap and on a
//! bridge three times, where a real DHCP server gives it addresses.

use std::process::Command;

use cloud_machine_driver::ssh;
use cloud_machine_tests::{
    artifacts::Artifacts,
    bridge::Bridged,
    loop_device::run,
    program::{Program, method},
};
use serde_json::Value;

use crate::interfaces;

const MACHINE: &str = "disks";
const CONFIGURATION: &str = "\
cloud-machine:
  image: debian-12
  identity: {ssh-host-keys: keep}
  cloud-init-url: {url: http://10.78.0.1/more.yaml, sha256: 6e8c400a5df96e8ed897fa0bdd38ae5b37aff0e6eaa93fd277cf67dc0dd8c586}
  resources:
    cpus: 1
    nic: {network: {tap: tap0}, address: {dns: [10.78.0.1], search: [lab.example]}}
    nics:
      backup: {network: {bridge: br1}}
      storage: {network: {bridge: br1}, address: {addresses: [10.79.0.7/24], routes: [10.81.0.0/16 via 10.79.0.1], mtu: 1400}}
      tagged: {network: {bridge: br1}, address: {addresses: [10.82.0.7/24], vlan: 7}}
    disks:
      system: {boot-partition: true}
      data: {allocation: 320MiB, filesystem: {type: xfs, label: data}, mountpoint: /srv/the-data}
      scratch: {allocation: 64MiB, filesystem: ext4, wipe-on-boot: discard}
      cache: {allocation: 288MiB, filesystem: {type: btrfs, label: cache, grow: true}, on-reimage: keep, required: true}
      share: {allocation: 64MiB, filesystem: {type: vfat, label: share}}
      swap: {allocation: 64MiB, filesystem: swap}
      temp: {allocation: 64MiB, filesystem: ext4, wipe-on-boot: recreate, on-reimage: recreate}
      vault: {allocation: 64MiB, filesystem: ext4, wipe-on-boot: crypto}
      work:
        allocation: 512MiB
        on-reimage: keep
        partitions:
          one: {size: 64MiB, filesystem: {type: ext4, options: [-m, '0'], grow: true}, mount-options: [exec]}
          two: {size: 75%, filesystem: {type: xfs, label: two}, mount-options: [noatime]}
          raw: {type: lvm}
      yard:
        allocation: 64MiB
        wipe-on-boot: recreate
        on-reimage: recreate
        partitions: {one: {filesystem: ext4}}
";
/// What a person sees in the machine: mountpoint, device, type and label.
const MOUNTED: [&str; 9] = [
    "/mnt/cache /dev/vdb btrfs cache",
    "/mnt/scratch /dev/vdd ext4 ",
    "/mnt/share /dev/vde vfat SHARE",
    "/mnt/temp /dev/vdg ext4 ",
    "/mnt/vault /dev/mapper/cloud-machine-dm-0 ext4 ",
    "/mnt/work-one /dev/vdi1 ext4 ",
    "/mnt/work-two /dev/vdi2 xfs two",
    "/mnt/yard-one /dev/vdj1 ext4 ",
    "/srv/the-data /dev/vdc xfs data",
];
const FOLDERS: [&str; 9] = [
    "/mnt/cache",
    "/mnt/scratch",
    "/mnt/share",
    "/mnt/temp",
    "/mnt/vault",
    "/mnt/work-one",
    "/mnt/work-two",
    "/mnt/yard-one",
    "/srv/the-data",
];

#[test]
fn data_disks_are_what_was_described_at_every_boot() {
    let artifacts = Artifacts::from_environment().unwrap();
    let bridged = Bridged::new();
    std::fs::write(bridged.web().join("more.yaml"), "#cloud-init\n").unwrap();
    let program = Program::new(&Artifacts { program: bridged.inside(&artifacts.program), ..artifacts.clone() });
    program.pack(&artifacts, "debian-12").unwrap();
    let file = program.state().parent().unwrap().join("disks.yaml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let file = file.to_string_lossy().into_owned();

    // The system disk is no matter of this test: by itself each reimage is an overlay, too.
    let created = program.done(&["create", MACHINE, "--config", &file, "--strategy", "overlay", "--output", "json"]);
    for (disk, expected) in [
        ("cache", "create btrfs"),
        ("data", "wipe zero, create xfs"),
        ("scratch", "wipe zero, create ext4"),
        ("share", "wipe zero, create vfat"),
        ("swap", "wipe zero, create swap"),
        ("temp", "wipe recreate, create ext4"),
        ("vault", "wipe zero, encrypt, create ext4"),
        ("work", "create table, create ext4 on one, create xfs on two"),
        ("yard", "wipe recreate, create table, create ext4 on one"),
    ] {
        assert_eq!(method(&created, disk), expected);
    }
    let address = the_one_address(&program, &bridged);
    let interfaces = interfaces::further(&program, MACHINE);
    everything_is_mounted(&program, "");
    partitions_are_what_was_described(&program);
    assert_eq!(options(&program, "/mnt/work-two", &["nosuid", "nodev", "noexec", "noatime"]), 4);
    let full = sizes(&program);
    inside(
        &program,
        "umount /mnt/work-one /mnt/cache; e2fsck -f -p /dev/vdi1; resize2fs /dev/vdi1 40M; mkfs.btrfs -q -f -L cache -b 112M \
         /dev/vdb; systemctl start mnt-cache.mount mnt-work\\\\x2done.mount",
    );
    let small = sizes(&program);
    assert!(small.iter().zip(&full).all(|(small, full)| small < full), "{small:?} {full:?}");
    leave_marks(&program);
    let key = only_ciphertext_lies_below_a_cipher(&program);

    // A boot: what every boot wipes is new, the rest is as it was.
    program.done(&["stop", MACHINE]);
    let started = program.done(&["start", MACHINE, "--output", "json"]);
    for (step, word) in
        [("wipe-scratch", "discard"), ("wipe-temp", "recreate"), ("wipe-vault", "recreate"), ("wipe-yard", "recreate")]
    {
        assert_eq!(methods_of_steps(&started, step), word);
    }
    // What is kept by now is told of the machine from here on, not only by the start that found it.
    let kept = "the disk `data`: kept with its xfs: whatever a job wrote there is still there";
    assert!(!created.contains(kept) && started.contains(kept), "{started}");
    for command in [vec!["start", MACHINE, "--output", "json"], vec!["show", MACHINE], vec!["verify", MACHINE]] {
        assert!(program.done(&command).contains(kept), "{command:?}");
    }
    everything_is_mounted(&program, "");
    assert_eq!(sizes(&program), full, "what shall grow is as large as it was");
    assert_eq!(marks(&program), ["/mnt/cache", "/mnt/share", "/mnt/work-one", "/mnt/work-two", "/srv/the-data"]);
    assert_ne!(only_ciphertext_lies_below_a_cipher(&program), key, "the key of yesterday");

    // A job may make of its disks what it likes; a kept disk keeps what it holds.
    leave_marks(&program);
    leave_traps(&program);
    let host_key = host_key(&program);
    inside(
        &program,
        "umount /srv/the-data; mkfs.vfat -I -n CLOUD-INIT /dev/vdc; swapoff -a; dd if=/dev/urandom of=/dev/vdf bs=1M \
         count=8 conv=fsync; sync",
    );
    let reimaged = program.done(&["reimage", MACHINE, "--output", "json"]);
    the_kept_host_key_stays_and_is_not_called_new(&program, &host_key);
    assert_eq!(the_one_address(&program, &bridged), address, "the address is that of before");
    assert_eq!(interfaces::further(&program, MACHINE), interfaces, "and so are the others");
    assert_eq!(method(&reimaged, "cache"), "reuse btrfs");
    assert_eq!(method(&reimaged, "data"), "wipe zero, create xfs");
    assert_eq!(method(&reimaged, "work"), "reuse table, reuse ext4 on one, reuse xfs on two");
    everything_is_mounted(&program, "/mnt/work-two");
    partitions_are_what_was_described(&program);
    assert_eq!(marks(&program), ["/mnt/cache", "/mnt/work-one"]);
    no_trap_snaps(&program);
    // What was not erased is said, and not of a disk that was.
    let verified = program.done(&["verify", MACHINE]);
    let shown = program.done(&["show", MACHINE]);
    for disk in ["temp", "yard"] {
        let left = format!("the disk `{disk}`: signatures were removed; the data between was not erased");
        assert!(verified.contains(&left) && !verified.contains("the disk `vault`"), "{verified}");
        assert!(shown.contains(&left), "{shown}");
    }

    // Without a disk that is required the machine does not come up, and says for which.
    inside(
        &program,
        "umount /mnt/cache; for at in 1 65; do dd if=/dev/zero of=/dev/vdb bs=1M seek=$at count=62; done; sync",
    );
    let refused = program.call(["reimage", MACHINE], b"");
    assert_eq!(refused.code, 1, "{}", refused.errors);
    // systemd shortens what does not fit a line of the console in its middle.
    let told = refused.errors.lines().find(|line| line.contains("the machine's system stopped while it started: "));
    let told = told.unwrap_or_else(|| panic!("{}", refused.errors));
    assert!(told.contains("Failed to mount mnt-cache.") && told.contains("(/dev/vdb) of cloud-machine"), "{told}");

    // A kept disk on which nothing known is found any more is not one that holds nothing.
    let cache = program.state().join(format!("machines/{MACHINE}/disks/cache.raw"));
    run(Command::new("wipefs").args(["--all", "--force", "--quiet"]).arg(&cache));
    let digest = || String::from_utf8(run(Command::new("sha256sum").arg(&cache)).stdout).unwrap();
    let before = digest();
    let refused = program.call(["reimage", MACHINE], b"");
    assert_eq!(refused.code, 1, "{}", refused.errors);
    let told = "the disk `cache` on vdb must hold btrfs labelled `cache` but holds data of no kind that is known; it was there \
        before, so it is damaged or lost and not made anew";
    assert!(refused.errors.contains(told), "{}", refused.errors);
    let file = format!("the disk `cache` is {} on this host", cache.display());
    assert!(refused.errors.contains(&file), "{}", refused.errors);
    assert_eq!(digest(), before);
    program.done(&["delete", MACHINE, "--yes"]);
}

/// As the host pinned it.
fn host_key(program: &Program) -> String {
    program.json(["show", MACHINE]).unwrap()["record"]["host_key"].as_str().unwrap().to_owned()
}

fn the_kept_host_key_stays_and_is_not_called_new(program: &Program, before: &str) {
    assert_eq!(host_key(program), before);
    let verified = program.json(["verify", MACHINE]).unwrap()["machines"][0]["result"].clone();
    let (checked, left) = (verified["checked"].to_string(), verified["does_not_cover"].to_string());
    assert!(checked.contains("the SSH host key that the host keeps, which is no new one"), "{checked}");
    assert!(checked.contains("something answers with the kept host key") && !checked.contains("pinned"), "{checked}");
    assert!(left.contains("the SSH host key is kept: each job since the machine was made could copy it"), "{left}");
    let seen = inside(program, "cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub; stat -c %a /etc/ssh/ssh_host_*_key");
    assert_eq!(seen, format!("{}\n600\n", before.trim_end_matches(" disks")));
    // Nothing that stays attached, or that people are shown, has the private half as it was sent.
    let folder = program.state().join("machines").join(MACHINE);
    let (_, seed) = ssh::read_key(&folder.join("ssh/host_ed25519")).unwrap().expect("the kept key");
    let sent = serde_json::to_string(&seed).unwrap();
    let sent = sent.trim_matches('"');
    assert_eq!(sent.len(), 64);
    let look = format!("grep -caF {sent} /dev/disk/by-id/virtio-cm-volume /run/cloud-machine/report.json || true");
    assert_eq!(inside(program, &look), "/dev/disk/by-id/virtio-cm-volume:0\n/run/cloud-machine/report.json:0\n");
    let files = Command::new("grep").args(["-rlaF", "--exclude-dir=disks", sent]).arg(&folder).output().unwrap();
    assert_eq!((files.status.code(), files.stdout.as_slice()), (Some(1), b"".as_slice()));
}

/// The address of the machine, which its agent had while it fetched a document, and the only one that the DHCP server gave.
fn the_one_address(program: &Program, bridged: &Bridged) -> String {
    // The host reaches the machine before a DHCP server has answered it.
    let look = "/usr/lib/systemd/systemd-networkd-wait-online --ipv4 --timeout=120 >&2; \
                ip -4 -o address show scope global | grep -o '10.78.0[^/]*/24'; cat /etc/resolv.conf";
    let found = inside(program, look);
    let (address, resolv) = found.split_once("/24\n").expect("an address");
    assert!(resolv.ends_with("nameserver 10.78.0.1\nsearch lab.example\n"), "{resolv}");
    let report = program.json(["show", MACHINE]).unwrap()["record"]["last_report"].as_str().unwrap().to_owned();
    let report = std::fs::read_to_string(program.state().join("machines").join(MACHINE).join(report)).unwrap();
    assert!(report.contains(&format!("\"{address}/24\"")), "the agent had another address than {address}");
    let mut leases = bridged.leases();
    leases.retain(|(address, _)| address.starts_with("10.78."));
    assert_eq!(leases.len(), 1, "{leases:?}");
    // Hardware type and address: whoever names himself otherwise is another client.
    assert_eq!((leases[0].0.as_str(), leases[0].1.starts_with("01:52:54:00:")), (address, true), "{leases:?}");
    address.to_owned()
}

/// A set-user-id shell, a device node, a filesystem whose own wish is a panic, and one that cannot be mounted.
fn leave_traps(program: &Program) {
    inside(
        program,
        "cp /bin/dash /mnt/work-one/shell; chmod 4755 /mnt/work-one/shell; \
         mknod -m 666 /mnt/work-one/node b $(stat -c '0x%t 0x%T' /dev/vda); tune2fs -e panic /dev/vdi1; \
         umount /mnt/work-two; dd if=/dev/zero of=/dev/vdi2 bs=4k seek=1 count=255 conv=fsync",
    );
}

/// Of what [`leave_traps`] left, nothing works in the next system, and nothing keeps it from coming up.
fn no_trap_snaps(program: &Program) {
    let guards = ["nosuid", "nodev", "errors=remount-ro"];
    assert_eq!(options(program, "/mnt/work-one", &guards), guards.len());
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    assert_eq!(inside(program, &format!("{nobody} /mnt/work-one/shell -p -c 'id -u'")).trim(), "65534");
    let look = format!("test -b /mnt/work-one/node; ! {nobody} head -c 1 /mnt/work-one/node 2>&1");
    assert!(inside(program, &look).contains("Permission denied"));
    assert!(inside(program, "systemctl --failed --plain --no-legend").contains("mnt-work\\x2dtwo.mount"));
}

/// How many of `wanted` are among the options of a mount.
fn options(program: &Program, folder: &str, wanted: &[&str]) -> usize {
    let found = inside(program, &format!("findmnt -no OPTIONS {folder}"));
    wanted.iter().filter(|option| found.trim().split(',').any(|one| one == **option)).count()
}

fn inside(program: &Program, script: &str) -> String {
    program.done(&["exec", MACHINE, "--", "sh", "-ec", script])
}

/// How a step of a result wiped.
fn methods_of_steps(result: &str, id: &str) -> String {
    let result: Value = serde_json::from_str(result).unwrap();
    let result = result["value"].get("machines").map_or(&result["value"], |machines| &machines[0]["result"]);
    let steps = result["steps"].as_array().unwrap_or_else(|| panic!("no steps: {result}")).clone();
    let step = steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id}: {steps:?}"));
    step["step"]["method"].as_str().expect("a method").to_owned()
}

/// What the filesystem of `vault` holds cannot be found on its disk, which has no signature either. Gives the digest of its
/// table, in which the key is.
fn only_ciphertext_lies_below_a_cipher(program: &Program) -> String {
    let script = "echo plain-as-day > /mnt/vault/plain; sync; sync -f /mnt/vault; echo 3 > /proc/sys/vm/drop_caches; \
                  grep -c plain-as-day /dev/dm-0 || true; grep -c plain-as-day /dev/vdh || true; blkid -p /dev/vdh || echo $?";
    assert_eq!(inside(program, script).split_whitespace().collect::<Vec<_>>(), ["1", "0", "2"]);
    let table = inside(program, "dmsetup table cloud-machine-dm-0");
    assert!(table.contains(" crypt aes-xts-plain64 "), "{table}");
    assert_eq!(inside(program, "ls /sys/class/block/dm-0/slaves").trim(), "vdh");
    inside(program, "dmsetup table --showkeys cloud-machine-dm-0 | sha256sum")
}

/// Bytes of the filesystems that grow.
fn sizes(program: &Program) -> [u64; 2] {
    let found = inside(program, "for one in cache work-one; do findmnt -rnb -o SIZE /mnt/$one; done");
    let found: Vec<u64> = found.lines().map(|line| line.trim().parse().unwrap()).collect();
    found.try_into().unwrap()
}

/// Everything but what is mounted at `missing`.
fn everything_is_mounted(program: &Program, missing: &str) {
    let found = inside(program, "findmnt -rn -o TARGET,SOURCE,FSTYPE,LABEL | grep -E ' /dev/(vd[b-z]|mapper/)' | sort");
    let found: Vec<&str> = found.lines().map(str::trim_end).collect();
    let expected = MOUNTED.iter().filter(|line| line.split(' ').next() != Some(missing));
    assert_eq!(found, expected.map(|line| line.trim_end()).collect::<Vec<_>>());
    assert_eq!(inside(program, "swapon --noheadings --raw --show=NAME,SIZE").trim(), "/dev/vdf 64M");
    let units = "systemctl is-active srv-the\\\\x2ddata.mount mnt-cache.mount dev-vdf.swap local-fs.target";
    assert_eq!(inside(program, units).trim(), ["active"; 4].join("\n"));
}

/// As the kernel of the machine sees them: names, first sectors and sizes.
fn partitions_are_what_was_described(program: &Program) {
    let look = "for one in 1 2 3; do cd /sys/block/vdi/vdi$one; sed -n s/PARTNAME=//p uevent; cat start size; done";
    let found = inside(program, look);
    let mib = 2048;
    let two = 510 * 75 / 100;
    let places = [("one", 1, 64), ("two", 65, two), ("raw", 65 + two, 510 - 64 - two)];
    let expected = places.map(|(name, start, length)| format!("{name}\n{}\n{}\n", start * mib, length * mib));
    assert_eq!(found, expected.concat());
}

fn leave_marks(program: &Program) {
    let touch: Vec<String> = FOLDERS.iter().map(|folder| format!("echo mark > {folder}/mark")).collect();
    inside(program, &format!("{}; sync", touch.join("; ")));
}

/// The folders in which there still is a mark.
fn marks(program: &Program) -> Vec<String> {
    let look: Vec<String> = FOLDERS.iter().map(|folder| format!("test -e {folder}/mark && echo {folder}")).collect();
    let found = inside(program, &format!("{}; true", look.join("; ")));
    found.lines().map(str::to_owned).collect()
}
