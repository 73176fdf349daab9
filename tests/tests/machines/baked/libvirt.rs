//! A baked disk as libvirt starts it: a plain domain, with the volume as an optical disc. Must not know what a volume asks for.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
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
  <devices>DISKS
    <interface type='user'><model type='virtio'/></interface>
    <serial type='unix'><source mode='connect' path='CONSOLE'/><target port='0'/></serial>
  </devices>
</domain>";

const UEFI: &str = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>VARIABLES</nvram>";

/// Starts a domain with `disks`, the first of which it boots from, and `volume`; `folder` is for what it needs besides.
pub(super) fn start(
    libvirtd: &Libvirtd,
    begin: Begin,
    folder: &Path,
    disks: &[(PathBuf, &str)],
    volume: &Path,
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
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/><target dev='sda' bus='sata'/><readonly/></disk>",
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
    // Once it returns, the domain's QEMU has connected.
    libvirtd.virsh(&["create", &domain.to_string_lossy()]);
    Running::over(listener.accept().expect("a console").0)
}
