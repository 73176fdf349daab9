//! A machine that no host of ours started: an image with the agent in its own initramfs, QEMU as anybody starts it, and a volume made
//! by hand. Boot after boot it is what the volume describes, whatever was done to its disks in between.

mod disks;
mod libvirt;
mod machine;
mod matrix;
mod promise;

use std::{
    fs,
    path::{Path, PathBuf},
};

use cloud_machine_system::sha256;
use cloud_machine_tests::{
    artifacts::{Artifacts, baked_image, next_image},
    baked::{BakedRoot, Generator},
    plain_machine::{PlainMachine, Start},
    small_system::SmallSystem,
};

use crate::{self_reimage::goes_on_as_it_was, whole_way::is_adopted_and_reimaged};

use self::{
    machine::{BOOT, Baked, Begin, PROMPT, SHELL},
    promise::{Address, Data, FALSE_VOLUME, Promise, Signer},
};

/// The promise as it is held against what CI boots.
fn promise(begin: [Begin; 3]) -> Promise<'static> {
    let root = "/dev/vda2 ext4\n";
    Promise { begin, data: Data::Ext4, by_serial: false, tools: "vdd", dirt: FALSE_VOLUME, root, sign: None }
}

#[test]
fn a_volume_made_by_hand_describes_every_boot_whatever_was_done_in_between() {
    let artifacts = Artifacts::from_environment_without_image().expect("the programs");
    let image = baked_image().expect("the image");
    let root = BakedRoot::unpack(&image);
    let address = Address::start();
    let policy = format!("{}recovery: 80MiB\n", address.policy());
    root.install(&artifacts.agent, Some(&policy));
    // Its initramfs is made before that of the other generator, in the same root.
    let system = SmallSystem::new(&artifacts, &root);
    std::thread::scope(|scope| {
        scope.spawn(|| is_adopted_and_reimaged(&system, Start::Bios, 1));
        // An image that boots by itself and is baked by the one command, which finds initramfs-tools in it.
        scope.spawn(|| {
            let machine = Baked::by_command(&image, &artifacts, &policy, None);
            // Room for the recovery partition, as a disk has that is larger than its image.
            let disk = fs::OpenOptions::new().write(true).open(machine.file("root")).expect("the disk");
            let size = disk.metadata().expect("its size").len();
            disk.set_len(size + (96 << 20)).expect("a larger disk");
            drop(disk);
            promise([Begin::Uefi, Begin::Uefi, Begin::Bios]).keep(&machine, &address);
            goes_on_as_it_was(&machine.file("root"), Start::Bios);
        });
        scope.spawn(|| promise([Begin::Direct; 3]).keep(&Baked::new(&image, &root, Generator::Dracut), &address));
    });
    assert_eq!(address.requests(), 6, "one for each boot");
}

/// How QEMU states the pin `digest`: each generator's machine in another place.
fn stated(generator: Generator, digest: &str) -> (&'static str, String) {
    match generator {
        Generator::InitramfsTools => {
            ("-fw_cfg", format!("name=opt/io.systemd.credentials/cloudmachine.pin,string={digest}"))
        }
        Generator::Dracut => ("-smbios", format!("type=11,value=io.systemd.credential:cloudmachine.pin={digest}")),
    }
}

/// Machines that must not come up, each with its reason.
fn that_stop(baked: &Baked) -> [(PlainMachine, &'static str); 2] {
    let disks =
        "cloud-machine: {resources: {disks: {data: {devicepath: /dev/vdb, wipe-on-boot: true, filesystem: ext4}}}}";
    let volume = baked.iso("disks", "CLOUD-INIT", &[("user-data", disks), ("meta-data", "")]);
    let mut read_only = baked.machine(Begin::Direct, SHELL);
    read_only.read_only_disk(&baked.file("data"));
    read_only.read_only_disk(&volume);
    // A kernel for which the initramfs has no drivers.
    let mut other_kernel = baked.machine(Begin::Direct, SHELL);
    if let Start::Kernel { kernel, .. } = &mut other_kernel.start {
        *kernel = next_image().expect("the image with another kernel").join("kernel");
    }
    [(read_only, "the disk `data` on vdb is read-only"), (other_kernel, "the initramfs has modules of the kernel 6.1.")]
}

#[test]
fn a_boot_stops_where_no_volume_counts_or_two_do_and_a_pin_decides() {
    let agent = Artifacts::from_environment_without_image().expect("the agent").agent;
    let image = baked_image().expect("the image");
    let root = BakedRoot::unpack(&image);
    let signer = Signer::new();
    root.install(&agent, Some(&signer.policy("pinned, signed, read-only")));
    for (generator, count, why) in [
        (
            Generator::InitramfsTools,
            0,
            "no volume labelled CLOUD-INIT counts, and the policy of the image requires one",
        ),
        (Generator::Dracut, 2, "two volumes labelled CLOUD-INIT count: vdc and vdd"),
    ] {
        let machine = Baked::new(&image, &root, generator);
        let files = [("user-data", "cloud-machine: {disks-undeclared: ignore}\n"), ("meta-data", "")];
        let both = [machine.iso("one", "CLOUD-INIT", &files), machine.iso("two", "cloud-init", &files)];
        let volumes: Vec<&Path> = both.iter().take(count).map(PathBuf::as_path).collect();
        let console = machine.boot(Begin::Direct, &volumes, &[], SHELL).wait_for_end(BOOT);
        assert!(console.contains(why), "{generator:?}: {console}");
        assert!(!console.contains(PROMPT), "{generator:?} went on: {console}");
        // What the hypervisor states decides between the two.
        let named = fs::read(&both[1]).expect("the volume");
        let volumes: Vec<&Path> = both.iter().map(PathBuf::as_path).collect();
        let (option, value) = stated(generator, &sha256(&named).to_string());
        let running = machine.boot(Begin::Direct, &volumes, &[option, &value], SHELL);
        running.wait_for(PROMPT, 0, BOOT);
        drop(running);
        if generator == Generator::Dracut {
            // Who has signed a volume is no matter of what it lies on: this disk can be written.
            signer.sign(&both[0]);
            let disk = format!("file={},format=raw,if=virtio", both[0].display());
            let running = machine.boot(Begin::Direct, &[], &["-drive", &disk], SHELL);
            running.wait_for(PROMPT, 0, BOOT);
            assert!(running.console().contains("the volume vdc counts: a key of the policy has signed it"));
            continue;
        }
        for (machine, why) in that_stop(&machine) {
            let console = machine.start().wait_for_end(BOOT);
            assert!(console.contains(why) && !console.contains(PROMPT), "not {why:?}: {console}");
        }
        // A pin of what is not attached lets none count.
        let (option, value) = stated(generator, &sha256(b"").to_string());
        let console = machine.boot(Begin::Direct, &volumes, &[option, &value], SHELL).wait_for_end(BOOT);
        assert!(console.contains("vdd: its digest is sha256:"), "{generator:?}: {console}");
    }
}
