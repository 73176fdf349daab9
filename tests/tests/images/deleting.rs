//! Deleting images with the program: what a machine needs stays, and a golden disk goes with the last image of its content.

use std::fs;

use crate::{PACK, Workspace};

#[test]
fn an_image_goes_when_no_machine_uses_it_and_its_golden_disks_with_the_last_name() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw"));
    workspace.shell(&format!("{} disk.raw", PACK.replace("demo", "twin")));
    let inspected = workspace.shell("cloud-machine image inspect demo");
    let digest = inspected.lines().find_map(|line| line.split("blake3:").nth(1)).expect("a digest").trim();
    let golden = [format!("state/golden/{digest}-4194304"), format!("state/golden/{digest}-8388608")];
    let foreign = format!("state/golden/{}-4194304", "0".repeat(64));
    for folder in golden.iter().chain([&foreign]) {
        fs::create_dir_all(workspace.folder.join(folder)).unwrap();
    }

    // The machine gets no time to start: that it names the image is what counts.
    workspace
        .call("cloud-machine create user --image demo --set resources.disks.system.boot-partition=true --timeout 1");
    workspace.refused("cloud-machine image delete demo --yes", 1, &["image demo is used by user", "hint: delete"]);
    fs::create_dir_all(workspace.folder.join("state/machines/broken")).unwrap();
    workspace.refused("cloud-machine image delete demo --yes", 1, &["cannot tell which image machine broken uses"]);
    workspace.shell("cloud-machine delete broken --yes; cloud-machine delete user --yes");

    workspace.refused(
        "cloud-machine image delete demo",
        1,
        &["image demo is not deleted without being asked", "--yes"],
    );
    assert!(workspace.exists("state/images/demo"));
    workspace.shell("cloud-machine image delete demo --yes");
    assert!(!workspace.exists("state/images/demo") && workspace.exists(&golden[0]), "its twin has the same content");
    let told = workspace.shell("cloud-machine image delete twin --yes");
    assert!(golden.iter().all(|folder| !workspace.exists(folder) && told.contains(folder.as_str())), "{told}");
    assert!(workspace.exists(&foreign));
    workspace.refused("cloud-machine image delete twin --yes", 4, &["no image twin"]);
    workspace.refused("cloud-machine image delete ../x --yes", 2, &["../x"]);
}

#[test]
fn an_image_whose_record_is_broken_can_be_deleted_and_keeps_golden_disks() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw"));
    let golden = format!("state/golden/{}-4194304", "0".repeat(64));
    fs::create_dir_all(workspace.folder.join(&golden)).unwrap();
    fs::write(workspace.folder.join("state/images/demo/boot.json"), "{").unwrap();
    workspace.shell("cloud-machine image delete demo --yes 2>told");
    assert!(workspace.shell("cat told").contains("golden disks are kept"));
    assert!(!workspace.exists("state/images/demo") && workspace.exists(&golden));
}
