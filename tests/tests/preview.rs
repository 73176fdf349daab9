//! `cloud-machine-agent plan` on loop devices: what a configuration would do to each, and that nothing of it is done.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Output},
};

use cloud_machine_tests::{
    artifacts::Artifacts,
    loop_device::{LoopDevice, run},
};
use serde_json::Value;

/// Files below `folder`, each with the device over it.
fn devices(folder: &Path, names: &[&str]) -> Vec<LoopDevice> {
    let device = |name: &&str| {
        let file = folder.join(name);
        fs::File::create(&file).unwrap().set_len(16 << 20).unwrap();
        match *name {
            "ext4" => drop(run(Command::new("mkfs.ext4").args(["-q", "-L", "data"]).arg(&file))),
            // The magic number is gone; everything else is there.
            "damaged" => {
                run(Command::new("mkfs.ext4").arg("-q").arg(&file));
                fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[0; 2], 1024 + 56).unwrap();
            }
            "one" => fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[1], 9 << 20).unwrap(),
            "vfat" => drop(run(Command::new("mkfs.vfat").args(["-n", "CIDATA"]).arg(&file))),
            _ => {}
        }
        LoopDevice::new(&file, 512)
    };
    names.iter().map(device).collect()
}

fn plan(folder: &Path, configuration: &str, more: &[&str]) -> Output {
    let agent = Artifacts::from_environment().unwrap().agent;
    fs::write(folder.join("machine.yaml"), configuration).unwrap();
    let mut command = Command::new(agent);
    command.current_dir(folder).args(["plan", "--loop", "--config", "machine.yaml"]).args(more).output().unwrap()
}

/// Verdict, method and reason of a disk.
fn row(output: &Output, disk: &str) -> [String; 3] {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!((&document["kind"], &document["version"]), (&"plan".into(), &1.into()));
    let rows = document["value"].as_array().unwrap().clone();
    let row = rows.iter().find(|row| row["disk"] == disk).unwrap_or_else(|| panic!("no {disk}: {document}"));
    ["verdict", "method", "reason"].map(|key| row[key].as_str().unwrap().to_owned())
}

#[test]
fn each_disk_has_a_verdict_with_its_reason_and_none_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["system", "empty", "ext4", "vfat", "mounted", "replaced", "damaged", "one"];
    let devices = devices(folder.path(), &names);
    run(Command::new("mkfs.ext4").arg("-q").arg(devices[4].path()));
    run(Command::new("mkfs.ext4").arg("-q").arg(devices[5].path()));
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    run(Command::new("mount").arg(devices[4].path()).arg(&target));
    let before: Vec<Vec<u8>> = names.iter().map(|name| fs::read(folder.path().join(name)).unwrap()).collect();
    let path = |index: usize| devices[index].path().display().to_string();
    let configuration = format!(
        "cloud-machine:
  disks-undeclared: ignore
  resources:
    disks:
      system: {{devicepath: {}, boot-partition: true}}
      empty: {{devicepath: {}, on-reimage: keep, filesystem: ext4}}
      kept: {{devicepath: {}, on-reimage: keep, filesystem: {{type: ext4, label: data}}}}
      other: {{devicepath: {}, on-reimage: keep, filesystem: ext4}}
      used: {{devicepath: {}, filesystem: ext4}}
      replaced: {{devicepath: {}, on-reimage: keep, overwrite: true, filesystem: {{type: vfat, label: new}}}}
      damaged: {{devicepath: {}, on-reimage: keep, filesystem: ext4}}
      one: {{devicepath: {}, on-reimage: keep, filesystem: ext4}}
      absent: {{devicepath: 'serial:none'}}
",
        path(0),
        path(1),
        path(2),
        path(3),
        path(4),
        path(5),
        path(6),
        path(7)
    );
    let output = plan(folder.path(), &configuration, &["--output", "json"]);
    run(Command::new("umount").arg(&target));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    for (disk, verdict, method, reason) in [
        ("system", "reimage", "reimage", "it is the system disk"),
        ("empty", "create", "create ext4", "it holds nothing: zeros wherever it was looked"),
        ("damaged", "refuse", "", "but holds data of no kind that is known; only a disk of zeros is taken for empty"),
        ("one", "refuse", "", "but holds data of no kind that is known"),
        ("kept", "reuse", "reuse ext4", "it holds ext4 labelled `data`, as described"),
        ("other", "refuse", "", "but holds vfat labelled `CIDATA`; `overwrite: true` would let it be replaced"),
        ("used", "refuse", "", &format!("{} is mounted at {}", devices[4].name(), target.display())),
        ("replaced", "replace", "wipe zero, create vfat", "it holds ext4, and `overwrite` is true"),
        ("absent", "refuse", "", "serial:none"),
    ] {
        let [found, how, why] = row(&output, disk);
        assert_eq!((found.as_str(), how.as_str()), (verdict, method), "{disk}: {why}");
        assert!(why.contains(reason), "{disk}: {why}");
    }
    for (name, bytes) in names.iter().zip(before).filter(|(name, _)| **name != "mounted") {
        assert!(fs::read(folder.path().join(name)).unwrap() == bytes, "{name} was written");
    }
    let table = plan(folder.path(), &configuration, &["--action", "boot"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.starts_with("DISK") && text.contains("booted"), "{text}");
}

#[test]
fn what_is_wrong_with_a_call_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("cloud-machine: {resources: {disks: {a: {colour: red}}}}", &[][..], 3, "unknown key `colour`"),
        ("cloud-machine: {}", &["--action", "wipe"], 2, "--action is reimage or boot, not wipe"),
        ("cloud-machine: {}", &["--config", "absent.yaml"], 1, "read absent.yaml"),
    ];
    for (configuration, more, code, said) in cases {
        let output = plan(folder.path(), configuration, more);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
}
