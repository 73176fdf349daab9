//! What the programs of an image would do with a disk, whether or not a document has settings for them.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    ConfigErrors, LayerKind, Presence, Programs, can_be_done, can_be_made, defaults, merge, parse, validate,
};

/// Of a machine with a disk `data` with these settings.
fn with_disk(settings: &str, programs: Programs) -> Result<(), ConfigErrors> {
    let text = format!(
        "cloud-machine:\n  resources:\n    disks:\n      system: {{boot-partition: true}}\n      data: {{{settings}}}\n"
    );
    let merged = merge(&[defaults(), parse(LayerKind::Project, "f.yaml", text.as_bytes()).unwrap()]).unwrap();
    let config = validate(&merged).unwrap_or_else(|errors| panic!("{settings}: {errors}"));
    can_be_done(&merged, &config.resources.disks, programs)
}

#[test]
fn a_kept_disk_is_no_place_for_containers_of_a_program_that_the_image_has() {
    let docker = Programs { docker: Presence::Present, ..Programs::default() };
    let k3s = Programs { k3s: Presence::Present, ..Programs::default() };
    let kept = "allocation: 1GiB, filesystem: ext4, on-reimage: keep";
    for (place, programs, program) in [
        ("/var/lib/docker", docker, "docker"),
        ("/var/lib/docker/plugins", docker, "docker"),
        ("/var/lib/containerd", docker, "docker"),
        ("/var/lib/rancher", k3s, "k3s"),
        ("/var/lib/rancher/k3s/server/manifests", k3s, "k3s"),
    ] {
        let errors = with_disk(&format!("{kept}, mountpoint: {place}"), programs).unwrap_err();
        let [error] = errors.errors() else { panic!("{errors}") };
        assert_eq!((error.path.as_str(), error.line), ("cloud-machine.resources.disks.data", 5), "{place}");
        let message = format!("of the image's {program}, or a part of it, is on this disk, which a reimage keeps");
        assert!(error.message.contains(&message), "{}", error.message);
    }
    for (settings, programs) in [
        (format!("{kept}, mountpoint: /srv"), docker),
        (format!("{kept}, mountpoint: /var/lib/docker"), k3s),
        (format!("{kept}, mountpoint: /var/lib/docker"), Programs::default()),
        (format!("{kept}, mountpoint: /var/lib/docker, wipe-on-boot: true"), docker),
        ("allocation: 1GiB, filesystem: ext4, on-reimage: wipe, mountpoint: /var/lib/docker".to_owned(), docker),
    ] {
        with_disk(&settings, programs).unwrap_or_else(|errors| panic!("{settings}: {errors}"));
    }
    // A disk that is wiped, mounted in one that is kept, holds the folder.
    let both = "allocation: 1GiB, filesystem: ext4, on-reimage: wipe, mountpoint: /var/lib/rancher/k3s}\n      other: {allocation: 1GiB, \
                filesystem: ext4, on-reimage: keep, mountpoint: /var/lib/rancher";
    with_disk(both, k3s).unwrap();
}

#[test]
fn nothing_that_a_job_left_on_a_kept_disk_is_executed_by_root() {
    let tried = |disk: &str| {
        let text = format!("cloud-machine:\n  resources: {{disks: {{s: {{boot-partition: true}}, d: {{{disk}}}}}}}");
        let document = parse(LayerKind::Project, "f.yaml", text.as_bytes()).unwrap();
        validate(&merge(&[document]).unwrap()).map(drop).map_err(|errors| match errors.errors() {
            [error] => (error.path.clone(), error.message.clone()),
            several => panic!("{disk}: {several:?}"),
        })
    };
    let places = ["/usr/local", "/usr/local/bin", "/usr/bin", "/bin/x", "/var/spool", "/var/spool/cron/crontabs"];
    for place in places {
        let kept = format!("filesystem: ext4, mountpoint: {place}, on-reimage: keep");
        let (path, message) = tried(&kept).unwrap_err();
        assert_eq!(path, "cloud-machine.resources.disks.d.mountpoint");
        assert!(message.starts_with(&format!("root would execute what a job left at `{place}`")), "{message}");
        for cleared in [
            format!("filesystem: ext4, mountpoint: {place}"),
            format!("{kept}, wipe-on-boot: true"),
            kept.replace("keep", "recreate"),
        ] {
            tried(&cleared).unwrap_or_else(|error| panic!("{cleared}: {error:?}"));
        }
        let parts =
            format!("on-reimage: keep, partitions: {{p: {{size: rest, filesystem: ext4, mountpoint: {place}}}}}");
        assert_eq!(tried(&parts).unwrap_err().0, "cloud-machine.resources.disks.d.partitions.p.mountpoint");
    }
    for place in ["/opt", "/srv", "/home", "/var/log", "/var/spool/mail", "/usrlocal"] {
        tried(&format!("filesystem: ext4, mountpoint: {place}, on-reimage: keep")).unwrap();
    }
}

#[test]
fn a_filesystem_that_no_program_of_the_initramfs_makes_is_told_at_its_place() {
    let text = "cloud-machine:
  resources:
    disks:
      system: {boot-partition: true}
      plain: {filesystem: ext4}
      large: {filesystem: {type: xfs}}
      kept: {filesystem: xfs, on-reimage: keep}
      again: {filesystem: vfat, on-reimage: keep, wipe-on-boot: true}
      medium: {filesystem: squashfs, readonly: true, source: /m.img}
      pool: {filesystem: zfs}
      parts: {partitions: {one: {size: rest, filesystem: btrfs}}}
";
    let merged = merge(&[defaults(), parse(LayerKind::Project, "f.yaml", text.as_bytes()).unwrap()]).unwrap();
    let disks = validate(&merged).unwrap_or_else(|errors| panic!("{errors}")).resources.disks;
    let tried = |makes: &[&str]| {
        let makes: Vec<String> = makes.iter().map(|kind| (*kind).to_owned()).collect();
        let Err(errors) = can_be_made(&merged, &disks, &makes) else { return Vec::new() };
        errors.errors().iter().map(|error| (error.line, error.message.clone())).collect()
    };
    let all = ["ext4", "xfs", "btrfs", "vfat", "swap"];
    assert_eq!(tried(&all), []);
    let no = |kind: &str| format!("no program of the image's initramfs makes {kind}");
    assert_eq!(tried(&["ext4", "swap"]), [(8, no("vfat")), (6, no("xfs")), (11, no("btrfs"))]);
    let errors = can_be_made(&merged, &disks, &["ext4", "xfs", "vfat"].map(str::to_owned)).unwrap_err();
    assert_eq!(errors.errors()[0].path, "cloud-machine.resources.disks.parts.partitions.one.filesystem");
}
