//! A packed image that was changed and sealed again, so that its digest still is the honest one: no command takes it. The
//! digests are those of `b3sum`.

use std::{fs, path::Path};

use crate::{PACK, Workspace};

/// Bytes of the footer's content and of the skippable frame around it.
const FOOTER: usize = 80;
const ENTRY: usize = 33;

fn number(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn b3sum(workspace: &Workspace, bytes: &[u8]) -> [u8; 32] {
    fs::write(workspace.folder.join("hashed"), bytes).unwrap();
    let hex = workspace.shell("b3sum --no-names hashed");
    std::array::from_fn(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
}

/// Calls a leaf with data zero, as far from the table as possible, and seals manifest and footer.
fn lie(workspace: &Workspace, packed: &Path) {
    let mut file = fs::read(packed).unwrap();
    let footer = file.len() - FOOTER;
    let (at, length) = (number(&file, footer + 32), number(&file, footer + 40));
    let mut manifest = file[at..at + length].to_vec();
    let (first, count) = (32 + number(&manifest, 8), number(&manifest, 16));
    let is_data = |index: &usize| manifest[first + index * ENTRY] == 0;
    // The last leaf has the backup of the table.
    let data = (1..count - 1).rfind(is_data).unwrap();
    manifest[first + data * ENTRY] = 1;
    let sealed = length - 32;
    let checksum = b3sum(workspace, &manifest[..sealed]);
    manifest[sealed..].copy_from_slice(&checksum);
    file[at..at + length].copy_from_slice(&manifest);
    let digest = b3sum(workspace, &manifest);
    let end = file.len();
    file[end - 32..].copy_from_slice(&digest);
    fs::write(packed, file).unwrap();
}

#[test]
fn an_image_that_lies_about_zeros_is_refused_by_every_command_though_its_digest_is_right() {
    let workspace = Workspace::new();
    workspace.shell("minisign -G -W -p one.pub -s one.key");
    workspace.shell(&format!("{PACK} disk.raw"));
    let honest = format!("blake3:{}", workspace.shell("b3sum --no-names disk.raw").trim());
    let packed = workspace.packed("demo");
    fs::copy(&packed, workspace.folder.join("honest.zst")).unwrap();
    lie(&workspace, &packed);
    fs::copy(&packed, workspace.folder.join("lying.zst")).unwrap();
    workspace.shell("truncate -s 4M target.raw; cp disk.raw equal.raw");
    let told = ["calls 65536 bytes at byte ", " zero, but states the digest of other bytes for them"];
    for image in ["demo", "./lying.zst"] {
        for command in [
            format!("image inspect {image}"),
            format!("image inspect {image} --digest {honest}"),
            format!("image verify {image}"),
            format!("image verify {image} --digest {honest} --disk equal.raw"),
            format!("image write {image} --digest {honest} --disk target.raw --yes"),
            format!("image sign {image} --sign-key one.key"),
        ] {
            workspace.refused(&format!("cloud-machine {command}"), 5, &told);
        }
    }
    workspace.shell("cmp target.raw /dev/zero -n 4194304");
    assert!(!workspace.exists("lying.zst.minisig"));
    let listed = workspace.shell("cloud-machine image list");
    assert!(listed.contains("calls 65536 bytes at byte "), "{listed}");
    workspace.refused(
        "cloud-machine create machine --image demo --timeout 1 --set resources.disks.system.boot-partition=true",
        5,
        &told,
    );
    // The honest one is known by its bytes, without what was recorded of it, too.
    fs::copy(workspace.folder.join("honest.zst"), &packed).unwrap();
    workspace.shell("cloud-machine image verify demo; cloud-machine image verify ./honest.zst");
    workspace.shell(&format!("cloud-machine image write ./honest.zst --digest {honest} --disk target.raw --yes"));
    workspace.shell("cmp target.raw disk.raw");
}

#[test]
fn what_is_no_file_is_no_packed_image_and_nobody_waits_for_it() {
    let workspace = Workspace::new();
    workspace.shell("mkfifo pipe; mkdir folder; ln -s /dev/zero device");
    for name in ["pipe", "folder", "device"] {
        for command in ["inspect", "verify"] {
            workspace.refused(
                &format!("timeout 20 cloud-machine image {command} ./{name}"),
                1,
                &["open ./", "an ordinary file is expected"],
            );
        }
    }
}
