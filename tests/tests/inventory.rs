//! `cloud-machine-agent inventory` on loop devices: what lies on them, what uses them, and what can be mistaken.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cloud_machine_tests::{
    artifacts::Artifacts,
    loop_device::{LoopDevice, run},
};
use serde_json::Value;

/// Loop devices with what the test is about, over files in a folder.
struct Scene {
    agent: PathBuf,
    /// A GPT whose first partition, which the kernel has, is an ext4 labelled `Root`.
    table: LoopDevice,
    /// A GPT in sectors of 4096 bytes.
    large: LoopDevice,
    /// A GPT whose first header is gone.
    damaged: LoopDevice,
    /// A vfat labelled `ROOT`.
    label: LoopDevice,
    /// An ext4 with the header of an ISO.
    ambivalent: LoopDevice,
    /// A vfat labelled `CIDATA`, on a device that can be written.
    planted: LoopDevice,
    /// An ext4 without its magic number.
    unknown: LoopDevice,
    folder: tempfile::TempDir,
}

fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        shell(
            folder.path(),
            r"truncate -s 64M table large damaged
            truncate -s 8M ext4 label ambivalent planted unknown
            for file in table damaged; do
                printf 'label: gpt\nstart=2048, size=40960, name=root\nstart=43008, size=40960\n' | sfdisk -q $file
            done
            mkfs.ext4 -q -L Root -U 2f3683df-96a7-4498-a3d5-8ed00309a1d7 ext4
            dd if=ext4 of=table bs=1M seek=1 conv=notrunc status=none
            dd if=/dev/zero of=damaged bs=512 seek=1 count=1 conv=notrunc status=none
            mkfs.vfat -n ROOT label >/dev/null
            mkfs.vfat -n CIDATA planted >/dev/null
            mkfs.ext4 -q ambivalent
            mkfs.ext4 -q unknown
            dd if=/dev/zero of=unknown bs=1 seek=1080 count=2 conv=notrunc status=none
            printf '\001CD001\001' | dd of=ambivalent bs=1 seek=32768 conv=notrunc status=none",
        );
        let device = |name: &str, sector_size| LoopDevice::new(&folder.path().join(name), sector_size);
        let large = device("large", 4096);
        shell(
            folder.path(),
            &format!("printf 'label: gpt\\nstart=256, size=5120\\n' | sfdisk -q {}", large.path().display()),
        );
        let table = device("table", 512);
        // Not every kernel reads this table by itself.
        if !Path::new(&format!("{}p1", table.path().display())).exists() {
            run(Command::new("addpart").arg(table.path()).args(["1", "2048", "40960"]));
        }
        Self {
            agent: Artifacts::from_environment().unwrap().agent,
            large,
            damaged: device("damaged", 512),
            label: device("label", 512),
            ambivalent: device("ambivalent", 512),
            planted: device("planted", 512),
            unknown: device("unknown", 512),
            table,
            folder,
        }
    }

    fn call(&self, before: &str, arguments: &str) -> Output {
        let script = format!("{before} {} inventory {arguments}", self.agent.display());
        Command::new("sh").args(["-c", &script]).current_dir(self.folder.path()).output().unwrap()
    }

    /// The JSON that a call prints, below `value`.
    fn value(&self, before: &str) -> Value {
        let output = self.call(before, "--loop --output json");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&document["kind"], &document["version"]), (&"inventory".into(), &1.into()));
        document["value"].take()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // One that was added by hand outlives its device otherwise. A failed test tells more than this could.
        drop(Command::new("delpart").arg(self.table.path()).arg("1").status());
    }
}

fn disk<'a>(value: &'a Value, device: &LoopDevice) -> &'a Value {
    let disks = value["disks"].as_array().expect("disks");
    disks.iter().find(|disk| disk["name"] == device.name()).unwrap_or_else(|| panic!("no {}: {value}", device.name()))
}

#[test]
fn disks_partitions_and_what_can_be_mistaken_are_listed() {
    let scene = Scene::new();
    let value = scene.value("");
    let table = disk(&value, &scene.table);
    let first = &table["partitions"][0];
    assert_eq!(first["name"].as_str(), Some(format!("{}p1", scene.table.name()).as_str()), "{first}");
    assert_eq!((&first["offset"], &first["length"]), (&(1 << 20).into(), &(20 << 20).into()), "{first}");
    assert_eq!(first["partition_name"], "root", "{first}");
    assert_eq!(table["partitions"].as_array().map(Vec::len), Some(2), "{table}");
    assert_eq!(table["partitions"][1]["probe"]["kind"], "empty", "{table}");
    assert_eq!(disk(&value, &scene.unknown)["probe"]["kind"], "unknown", "{value}");
    let large = disk(&value, &scene.large);
    assert_eq!(large["partitions"][0]["offset"], 1 << 20, "{large}");
    assert_eq!(large["partitions"][0]["length"], 20 << 20, "{large}");

    let text = scene.call("", "--loop");
    let (printed, warned) = (String::from_utf8_lossy(&text.stdout), String::from_utf8_lossy(&text.stderr));
    let line = |device: &LoopDevice| {
        let name = format!("{} ", device.name());
        printed.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{printed}")).to_owned()
    };
    assert!(line(&scene.ambivalent).contains("ambivalent: "), "{printed}");
    assert!(line(&scene.damaged).contains("gpt (backup)"), "{printed}");
    assert!(line(&scene.unknown).contains(" unknown "), "{printed}");
    assert!(line(&scene.large).contains(" 4096 "), "{printed}");
    let warning = |words: &[&str]| {
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        assert!(warned.lines().any(|one| has(&one)), "{words:?}: {warned}");
    };
    warning(&["have one label", &format!("{}p1", scene.table.name()), &scene.label.name()]);
    warning(&["contradict each other", &scene.ambivalent.name()]);
    warning(&["primary partition table", "damaged", &scene.damaged.name()]);
    warning(&[&scene.planted.name(), "CIDATA"]);
}

#[test]
fn holders_are_named_and_without_loops_none_is_listed() {
    let scene = Scene::new();
    // The only filesystem that any kernel of a test host knows.
    let mount = format!("mount -t ext4 -o ro {}p1 /mnt", scene.table.path().display());
    let value = scene.value(&format!("unshare --mount sh -c '{mount} && exec \"$0\" \"$@\"'"));
    let held = format!("{}p1 is mounted at /mnt", scene.table.name());
    let told = scene.call(&format!("unshare --mount sh -c '{mount} && exec \"$0\" \"$@\"'"), "--loop");
    assert!(String::from_utf8_lossy(&told.stdout).contains(&held), "{}", String::from_utf8_lossy(&told.stdout));
    assert!(disk(&value, &scene.table)["holders"].to_string().contains("/mnt"), "{value}");
    let without: Value = serde_json::from_slice(&scene.call("", "--output json").stdout).unwrap();
    assert!(!without.to_string().contains(&format!("\"{}\"", scene.label.name())), "{without}");
}

#[test]
fn whoever_may_not_look_is_told_so_and_a_wrong_word_is_usage() {
    let scene = Scene::new();
    // Somebody else's program, in a folder that anybody may enter.
    let copy = scene.folder.path().join("agent");
    fs::copy(&scene.agent, &copy).unwrap();
    shell(scene.folder.path(), "chmod 755 . agent");
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let script = format!("{nobody} {} inventory --loop", copy.display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let reason = format!("cannot open {}: Permission denied", scene.label.path().display());
    assert!(printed.contains(&reason), "{printed}");
    for wrong in ["--bad", "--output", "--output xml"] {
        let output = scene.call("", wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: cloud-machine-agent inventory"), "{wrong}");
    }
}
