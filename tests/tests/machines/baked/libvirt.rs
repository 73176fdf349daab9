//! A baked disk as libvirt starts it: a plain domain, with the volume as an optical disc. Must not know what a volume asks for.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_tests::{libvirtd::Libvirtd, plain_machine::Running};

use super::machine::Begin;

/// What is put in: FIRMWARE, DISKS, CONSOLE.
const DOMAIN: &str = "<domain type='qemu'>
  <name>baked</name><memory unit='MiB'>1024</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>FIRMWARE<boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model>
    <feature policy='disable' name='cx16'/><feature policy='disable' name='svm'/></cpu>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>DISKS<controller type='scsi' model='virtio-scsi'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='unix'><source mode='connect' path='CONSOLE'/><target port='0'/></serial>
  </devices>
</domain>";

/// How long libvirt may take to see that a domain has ended.
const END: Duration = Duration::from_secs(60);

const UEFI: &str = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>VARIABLES</nvram>";

/// Starts a domain with `disks`, the first of which it boots from, and `volume` as an optical disc at a `bus` as libvirt names it;
/// `folder` is for what it needs besides.
pub(super) fn start(
    libvirtd: &Libvirtd,
    begin: Begin,
    folder: &Path,
    disks: &[(PathBuf, &str)],
    (volume, bus): (&Path, &str),
) -> Running {
    let firmware = match begin {
        Begin::Bios => String::new(),
        Begin::Uefi => UEFI.replace("VARIABLES", &folder.join("variables").to_string_lossy()),
        Begin::Direct => panic!("a baked disk boots by itself"),
    };
    let mut elements: String = ('a'..)
        .zip(disks)
        .map(|(letter, (file, more))| {
            format!(
                "
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/><target dev='vd{letter}' bus='virtio'/>{more}</disk>",
                file.display()
            )
        })
        .collect();
    elements += &format!(
        "
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/><target dev='sda' bus='{bus}'/><readonly/></disk>",
        volume.display()
    );
    let (console, domain) = (folder.join("console"), folder.join("domain.xml"));
    // That of the boot before.
    let _ = fs::remove_file(&console);
    let listener = UnixListener::bind(&console).expect("a socket");
    let text = DOMAIN
        .replace("FIRMWARE", &firmware)
        .replace("DISKS", &elements)
        .replace("CONSOLE", &console.to_string_lossy());
    fs::write(&domain, text).expect("the domain");
    wait_for_end(libvirtd);
    // Once it returns, the domain's QEMU has connected.
    libvirtd.virsh(&["create", &domain.to_string_lossy()]);
    Running::over(listener.accept().expect("a console").0)
}

/// Waits until the domain of the boot before is gone, whose console ends first.
fn wait_for_end(libvirtd: &Libvirtd) {
    let deadline = Instant::now() + END;
    while libvirtd.virsh(&["list", "--name"]).lines().any(|name| name == "baked") {
        assert!(Instant::now() < deadline, "the domain of the boot before does not end");
        thread::sleep(Duration::from_millis(100));
    }
}
