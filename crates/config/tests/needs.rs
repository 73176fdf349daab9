//! What the programs of an image would do with a disk, whether or not a document has settings for them.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    ConfigErrors, LayerKind, Presence, Programs, can_be_done, defaults, merge, parse, validate,
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
