//! The example that the project began with, on a real machine and over three boots with different dirt in between: a ZFS
//! pool on a SCSI disk and a disc in an optical drive, beside disks on every other bus.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cloud_machine_tests::{
    artifacts::{Artifacts, zfs_image},
    program::{Program, method},
};

const MACHINE: &str = "seed";
/// `volume1` and `volume2` are those of the example, but for the size of `volume1`, of which every byte is read back after each wipe:
/// the example's 20 GB keep a processor of the host busy for 50 s each time in software emulation. The others are what else a machine
/// may have: a disk that is kept as it is, on which a job may plant what it likes, and media on a disk's bus.
const CONFIGURATION: &str = "\
#cloud-init
cloud-machine:
  image: debian-12-zfs
  require: [resources.ram, resources.disks]
  resources:
    ram: 2
    cpus: 1
    disks:
      volume1:
        devicepath: /dev/sda
        allocation: 2GB
        filesystem: {type: zfs, kernel-module: zfs, properties: [compression=zstd], datasets: [logs, work/cache]}
        overwrite:
        wipe-on-boot:
        mountpoint: /data
      volume2: {devicepath: /dev/sr1, source: @/disc.iso, readonly: true, filesystem: iso9660, mountpoint: /media/volume2}
      raw: {allocation: 128MiB, on-reimage: keep}
      tools: {bus: nvme, source: @/tools.squashfs, readonly: true, filesystem: squashfs}
      data: {devicepath: 'label:reference', source: @/data.ext4, readonly: true, filesystem: ext4}
      tree-btrfs: {source: @/tree.btrfs, readonly: true, filesystem: btrfs}
      tree-erofs: {source: @/tree.erofs, readonly: true, filesystem: erofs}
      tree-xfs: {source: @/tree.xfs, readonly: true, filesystem: xfs}
";

#[test]
fn the_seeds_example_is_what_it_says_on_three_boots() {
    let artifacts = Artifacts::from_environment().unwrap();
    let program = Program::new(&artifacts);
    program.pack_folder(&zfs_image().unwrap(), "debian-12-zfs", &["zfs"]).unwrap();
    let file = configuration(&program);

    // The system disk is no matter of this test: by itself the reimage is an overlay, too.
    let created = program.done(&["create", MACHINE, "--config", &file, "--strategy", "overlay", "--output", "json"]);
    for (disk, expected) in [
        ("volume1", "wipe zero, create zfs"),
        ("volume2", "reuse iso9660"),
        ("tools", "reuse squashfs"),
        ("data", "reuse ext4"),
        ("tree-btrfs", "reuse btrfs"),
        ("tree-erofs", "reuse erofs"),
        ("tree-xfs", "reuse xfs"),
        ("raw", "kept"),
    ] {
        assert_eq!(method(&created, disk), expected, "{disk}");
    }
    everything_is_mounted(&program);
    let first = guid(&program);
    nothing_of_a_medium_can_be_written(&program);

    // A job that has root plants what a later boot might mount or import, and leaves its data.
    inside(
        &program,
        "echo mark > /data/logs/mark
         zfs create -o mountpoint=/etc/cron.d volume1/planted; echo '* * * * * root true' > /etc/cron.d/planted
         mkdir -p /etc/systemd/system/zfs-import.target.wants
         ln -s /lib/systemd/system/zfs-import-scan.service /etc/systemd/system/zfs-import.target.wants/
         zpool create -f -o cachefile=/etc/zfs/zpool.cache -O mountpoint=/usr/local/sbin -R /mnt/evil evil /dev/vdc
         sync",
    );
    program.done(&["stop", MACHINE]);
    program.done(&["start", MACHINE]);
    everything_is_mounted(&program);
    // The pool that was there, with its data; no other pool is imported, and no planted dataset is mounted.
    let found = "zpool list -H -o name,guid; cat /data/logs/mark; findmnt -rn -o TARGET /etc/cron.d || true";
    assert_eq!(inside(&program, found), format!("volume1\t{first}\nmark\n"));

    // A pool of another name is not the one that was described: the machine does not come up with it.
    inside(&program, "umount -R /data; zpool destroy volume1; zpool create -f -m none other /dev/sda; sync");
    program.done(&["stop", MACHINE]);
    let told = refused(&program, "start");
    assert!(told.contains("the disk `volume1` on sda must hold the zfs pool `volume1` but holds"), "{told}");
    let reimaged = program.done(&["reimage", MACHINE, "--output", "json"]);
    assert_eq!(method(&reimaged, "volume1"), "wipe zero, create zfs");
    everything_is_mounted(&program);
    let left =
        inside(&program, "zpool list -H -o guid; find /data -type f; zpool import 2>&1 | grep -e 'pool: ' || true");
    let left: Vec<&str> = left.lines().map(str::trim).collect();
    assert_eq!(left[1..], ["pool: evil"], "nothing of the job is in the pool, and the planted one stays outside");
    assert_ne!(left[0], first, "a reimage makes another pool");

    // Two disks have the label by which one of them is named now: which one is meant is not guessed.
    inside(&program, "mkfs.ext4 -q -F -L reference /dev/vdc; sync");
    let told = refused(&program, "reimage");
    assert!(told.contains("label:reference") && told.contains("vdb") && told.contains("vdc"), "{told}");
    program.done(&["delete", MACHINE, "--yes"]);
}

/// The configuration with files of this test, in a file.
fn configuration(program: &Program) -> String {
    let folder = program.state().parent().unwrap().join("media");
    media(&folder);
    let file = folder.join("seed.yaml");
    fs::write(&file, CONFIGURATION.replace('@', &folder.to_string_lossy())).unwrap();
    file.to_string_lossy().into_owned()
}

/// A disc, and one of each filesystem that a disk which is never written may have, each with one file that says what it is.
fn media(folder: &Path) {
    let content = |name: &str| -> PathBuf {
        let path = folder.join(format!("{name}.content"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("what"), format!("{name}\n")).unwrap();
        path
    };
    let (disc, tools, data, tree) = (content("disc"), content("tools"), content("data"), content("tree"));
    let at = |name: &str| folder.join(name).into_os_string();
    run(Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-V", "DISC", "-R", "-o"])
        .arg(at("disc.iso"))
        .arg(disc));
    run(Command::new("mksquashfs").arg(tools).arg(at("tools.squashfs")).arg("-quiet"));
    run(Command::new("mkfs.ext4").args(["-q", "-L", "reference", "-d"]).arg(data).arg(at("data.ext4")).arg("8M"));
    run(Command::new("mkfs.erofs").arg(at("tree.erofs")).arg(&tree));
    for (name, bytes) in [("tree.btrfs", 110 << 20), ("tree.xfs", 300 << 20)] {
        fs::File::create(at(name)).unwrap().set_len(bytes).unwrap();
    }
    run(Command::new("mkfs.btrfs").args(["-q", "--rootdir"]).arg(&tree).arg(at("tree.btrfs")));
    // A prototype file (mkfs.xfs(8)): boot program, blocks and inodes, then the root folder with what is in it.
    let prototype = format!("/none\n0 0\nd--755 0 0\nwhat ---644 0 0 {}\n$\n", tree.join("what").display());
    fs::write(at("prototype"), prototype).unwrap();
    run(Command::new("mkfs.xfs").arg("-q").arg("-p").arg(at("prototype")).arg(at("tree.xfs")));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run `make setup`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn inside(program: &Program, script: &str) -> String {
    program.done(&["exec", MACHINE, "--", "sh", "-ec", script])
}

fn guid(program: &Program) -> String {
    inside(program, "zpool get -H -o value guid volume1").trim().to_owned()
}

/// As a person sees it in the machine. One login for all: each takes seconds in software emulation.
fn everything_is_mounted(program: &Program) {
    let script = "
        findmnt -rn -o TARGET,SOURCE,FSTYPE | grep -e /data -e /media -e /mnt | sort
        cat /media/volume2/what /mnt/tools/what /mnt/data/what /mnt/tree-*/what
        systemctl is-active data.mount data-logs.mount media-volume2.mount mnt-data.mount local-fs.target | uniq -c
        zfs get -H -o value compression volume1/work/cache
        hostid; printf '%08x\\n' $(cat /sys/module/spl/parameters/spl_hostid)";
    let said = inside(program, script);
    let mut lines: Vec<&str> = said.lines().map(str::trim).collect();
    let hostids = lines.split_off(lines.len() - 2);
    assert_eq!(
        lines,
        [
            "/data volume1 zfs",
            "/data/logs volume1/logs zfs",
            "/data/work/cache volume1/work/cache zfs",
            "/media/volume2 /dev/sr1 iso9660",
            "/mnt/data /dev/vdb ext4",
            "/mnt/tools /dev/nvme0n1 squashfs",
            "/mnt/tree-btrfs /dev/vdd btrfs",
            "/mnt/tree-erofs /dev/vde erofs",
            "/mnt/tree-xfs /dev/vdf xfs",
            "disc",
            "tools",
            "data",
            "tree",
            "tree",
            "tree",
            "5 active",
            "zstd",
        ]
    );
    // The machine is the same to ZFS at every boot, and the programs agree with the module.
    assert!(hostids[0] == hostids[1] && hostids[0] != "00000000", "{hostids:?}");
}

fn nothing_of_a_medium_can_be_written(program: &Program) {
    let script = "for disk in sr1 vdb nvme0n1; do
          cat /sys/class/block/$disk/ro
          dd if=/dev/zero of=/dev/$disk bs=4096 count=1 oflag=direct 2>&1 | tail -1
        done; touch /mnt/data/new 2>&1 || true";
    let said = inside(program, script);
    assert_eq!(said.lines().filter(|line| *line == "1").count(), 3, "{said}");
    assert!(!said.contains("4096 bytes") && said.contains("Read-only file system"), "{said}");
}

/// What is said of a machine that does not come up.
fn refused(program: &Program, verb: &str) -> String {
    let refused = program.call([verb, MACHINE], b"");
    assert_eq!(refused.code, 1, "{}", refused.output);
    refused.errors
}
