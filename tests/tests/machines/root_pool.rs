//! A machine whose root is in a ZFS pool: received from the image, booted again as a job left it, cloned, refused where
//! a job changed what the clone is made of, and received anew.

use cloud_machine_tests::{
    artifacts::{Artifacts, zfs_image},
    program::{Program, method},
};
use serde_json::Value;

const MACHINE: &str = "pool";
const CONFIGURATION: &str = "\
#cloud-init
cloud-machine:
  image: debian-12-zfs
  resources:
    cpus: 1
    ram: 2
    disks:
      system:
        boot-partition: true
        filesystem: {type: zfs, properties: [compression=lz4], datasets: [logs]}
        mountpoint: /data
";

#[test]
fn a_root_in_a_pool_is_received_cloned_and_never_believed() {
    let artifacts = Artifacts::from_environment().unwrap();
    let program = Program::new(&artifacts);
    program.pack_folder(&zfs_image().unwrap(), "debian-12-zfs", &["zfs"]).unwrap();
    let file = program.state().parent().unwrap().join("pool.yaml");
    std::fs::create_dir_all(program.state()).unwrap();
    std::fs::write(&file, CONFIGURATION).unwrap();
    let created = reimaged(&program, &["create", MACHINE, "--config", &file.to_string_lossy()]);
    assert_eq!(way(&created), ["rewrite", "receive", "host-rooted"]);
    let first = the_root_is_the_image(&program);

    // What a job leaves in its root and in the pool is there at the next boot, and after a clone it is not.
    inside(
        &program,
        "echo mark > /root/mark; echo mark > /data/logs/mark; chmod u+s /bin/dash; zfs create -o mountpoint=/etc/cron.d -o overlay=on system/planted
         zfs snapshot system/root@job; zfs create -V 16M system/volume; zfs create -p system/root/deep/er; sync",
    );
    program.done(&["stop", MACHINE]);
    program.done(&["start", MACHINE]);
    let said = inside(&program, "cat /root/mark /data/logs/mark; findmnt -rn -o TARGET -t zfs | sort");
    assert_eq!(said, "mark\nmark\n/\n/data\n/data/logs\n", "and nothing is mounted where the job would have it");
    let required = program.call(["reimage", MACHINE, "--strategy", "clone"], b"");
    assert_eq!((required.code, inside(&program, "cat /root/mark").as_str()), (2, "mark\n"), "{}", required.errors);
    let cloned = reimaged(&program, &["reimage", MACHINE, CLONE[0], CLONE[1], CLONE[2], CLONE[3]]);
    assert_eq!(way(&cloned), ["clone", "clone", "unproven"]);
    assert!(cloned["does_not_cover"].as_str().is_some_and(|gap| gap.contains("was not erased")), "{cloned}");
    assert_eq!(the_root_is_the_image(&program), first, "the pool was kept");

    // Other files below the name of what was received.
    inside(
        &program,
        "received=$(zfs list -H -o name -r system/image | tail -1)
         mount -t zfs $received /mnt; echo evil::0:0::/root:/bin/sh >> /mnt/etc/passwd; touch /mnt/etc/evil; umount /mnt
         zfs rename $received@image $received@old; zfs snapshot $received@image; sync",
    );
    let told = refused(&program);
    assert!(told.contains("not those of the image: /etc, /etc/evil, /etc/passwd; `--strategy rewrite`"), "{told}");

    // What is begun is finished, by the way that proves most.
    let made = reimaged(&program, &["start", MACHINE]);
    assert_eq!(way(&made), ["rewrite", "receive", "host-rooted"]);
    assert_ne!(the_root_is_the_image(&program), first, "the pool is another one");
    program.done(&["verify", MACHINE]);
    program.done(&["delete", MACHINE, "--yes"]);
}

const CLONE: [&str; 4] = ["--strategy", "clone", "--require-assurance", "unproven"];

/// The result of a call that makes the root.
fn reimaged(program: &Program, arguments: &[&str]) -> Value {
    let said = program.done(&[arguments, &["--output", "json"]].concat());
    assert_eq!(method(&said, "system"), "reimage");
    let said: Value = serde_json::from_str(&said).unwrap();
    said["value"].get("machines").map_or(&said["value"], |machines| &machines[0]["result"]).clone()
}

fn way(reimaged: &Value) -> [&str; 3] {
    ["strategy", "tier", "assurance"].map(|key| reimaged[key].as_str().unwrap_or_default())
}

fn inside(program: &Program, script: &str) -> String {
    program.done(&["exec", MACHINE, "--", "sh", "-ec", script])
}

/// Why a clone is refused; the machine stays off.
fn refused(program: &Program) -> String {
    let refused = program.call(["reimage", MACHINE].into_iter().chain(CLONE), b"");
    assert_eq!(refused.code, 1, "{}", refused.output);
    refused.errors
}

/// Looks as a person does, in one login, and gives the identifier of the pool.
fn the_root_is_the_image(program: &Program) -> String {
    let script = "
        findmnt -n -o FSTYPE,TARGET /; find /data; findmnt -n -o SOURCE / | cut -d/ -f1,2
        test \"$(zpool get -H -o value bootfs system)\" = \"$(findmnt -n -o SOURCE /)\" && echo named
        zfs list -H -o name -t all | sed 's|/01.*|/REQUEST|; s|image/[0-9a-f]*|image/DIGEST|'
        systemctl is-system-running --wait; grep -c ^UUID= /etc/fstab || true; ls -A /root | grep mark || true
        find /bin/dash -perm /4000; grep ^evil /etc/passwd || true; zfs get -H -o value compression \"$(findmnt -n -o SOURCE /)\"
        hostname; zpool get -H -o value guid system";
    let said = inside(program, script);
    let mut lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let guid = lines.pop().unwrap_or_default().to_owned();
    assert_eq!(
        lines,
        [
            "zfs    /",
            "/data",
            "/data/logs",
            "system/root",
            "named",
            "system",
            "system/data",
            "system/data/logs",
            "system/image",
            "system/image/DIGEST",
            "system/image/DIGEST@image",
            "system/root",
            "system/root/REQUEST",
            "running",
            "0",
            "lz4",
            "pool",
        ]
    );
    guid
}
