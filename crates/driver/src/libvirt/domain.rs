//! A boot as a domain of libvirt, in its XML, and what a domain says of itself. Must not look at the host.

use std::{io, path::Path};

use cloud_machine_protocol::{Bus, MachineName, PORT_NAME, disk_letters};
use quick_xml::{
    NsReader, Writer, XmlVersion,
    events::{BytesStart, BytesText, Event},
    name::{Namespace, ResolveResult},
};

use super::LibvirtError;
use crate::qemu::{self, Accelerator, DirectBoot, Drive, Launch};

/// The namespace of what we say in a domain: who it belongs to.
const OURS: &str = "urn:cloud-machine:domain:1";
/// The namespace of arguments for QEMU.
const QEMU: &str = "http://libvirt.org/schemas/domain/qemu/1.0";
/// The longest path of a socket (unix(7)); libvirt makes it by its whole path.
const MAX_SOCKET: usize = 107;

/// The user that a machine's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// What is known of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Domain {
    /// Whether it runs.
    pub(super) active: bool,
    /// Whether it says that it is ours.
    pub(super) ours: bool,
}

/// The name of a machine's domain.
pub(super) fn name(machine: &MachineName) -> String {
    format!("cloud-machine-{machine}")
}

type Out = Writer<Vec<u8>>;
type Attributes<'a> = &'a [(&'a str, &'a str)];

/// The domain of a launch. With an owner its process is that user's, and libvirt changes no owner of a file.
pub(super) fn write(launch: &Launch, owner: Option<Owner>) -> Result<Vec<u8>, LibvirtError> {
    qemu::check(launch)?;
    let boot = launch.boot.as_ref().ok_or_else(|| invalid("boot", "none", "a kernel and an initramfs"))?;
    let cpu = Cpu::of(&launch.cpu_model)?;
    let parts = Parts::of(launch, boot)?;
    let mut out = Writer::new(Vec::new());
    let kind = match launch.accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "qemu",
    };
    let machine = launch.name.to_string();
    node(&mut out, "domain", &[("type", kind), ("xmlns:qemu", QEMU)], |out| {
        text(out, "name", &[], &name(&launch.name))?;
        text(out, "uuid", &[], &launch.uuid)?;
        text(out, "title", &[], &format!("machine {machine} of cloud-machine"))?;
        node(out, "metadata", &[], |out| leaf(out, "cm:machine", &[("xmlns:cm", OURS), ("name", &machine)]))?;
        text(out, "memory", &[("unit", "MiB")], &launch.memory_mib.to_string())?;
        text(out, "vcpu", &[], &launch.cpus.to_string())?;
        node(out, "os", &[], |out| {
            text(out, "type", &[("arch", "x86_64"), ("machine", "q35")], "hvm")?;
            text(out, "kernel", &[], parts.kernel)?;
            text(out, "initrd", &[], parts.initramfs)?;
            text(out, "cmdline", &[], &boot.append)
        })?;
        node(out, "features", &[], |out| leaf(out, "acpi", &[]).and_then(|()| leaf(out, "apic", &[])))?;
        cpu.write(out)?;
        // A boot is one process: it is never started again with the same nonce.
        for event in ["on_poweroff", "on_reboot", "on_crash"] {
            text(out, event, &[], "destroy")?;
        }
        node(out, "devices", &[], |out| devices(out, launch, &parts))?;
        if let Some(owner) = owner {
            let label = format!("+{}:+{}", owner.user, owner.group);
            let attributes = [("type", "static"), ("model", "dac"), ("relabel", "no")];
            node(out, "seclabel", &attributes, |out| text(out, "label", &[], &label))?;
        }
        node(out, "qemu:commandline", &[], |out| {
            parts.arguments.iter().try_for_each(|word| leaf(out, "qemu:arg", &[("value", word)]))
        })
    })
    .map_err(LibvirtError::Write)?;
    Ok(out.into_inner())
}

/// What is checked before anything is written.
struct Parts<'a> {
    kernel: &'a str,
    initramfs: &'a str,
    agent: String,
    console: String,
    log: String,
    /// The file of each drive, in their order.
    files: Vec<&'a str>,
    /// Arguments for QEMU: what libvirt 9 has no words for.
    arguments: Vec<String>,
}

impl<'a> Parts<'a> {
    fn of(launch: &'a Launch, boot: &'a DirectBoot) -> Result<Self, LibvirtError> {
        legible("kernel command line", &boot.append)?;
        let folder = &launch.folder;
        Ok(Self {
            kernel: path("path of the kernel", &boot.kernel)?,
            initramfs: path("path of the initramfs", &boot.initramfs)?,
            agent: socket(&folder.agent_socket())?,
            console: socket(&folder.console_socket())?,
            log: path("path of the console log", &folder.console_log())?.to_owned(),
            files: launch.drives.iter().map(|drive| path("path of a drive", &drive.file)).collect::<Result<_, _>>()?,
            arguments: arguments(launch)?,
        })
    }
}

/// The user network, whose forwarded port libvirt 9 can only do with passt and Debian 12's not at all, and NVMe drives. As JSON:
/// QEMU makes such devices in the order of the command line, after those of libvirt, which have fixed places.
fn arguments(launch: &Launch) -> Result<Vec<String>, LibvirtError> {
    let mac = launch.mac.to_string();
    let card = serde_json::json!({"driver": "virtio-net-pci", "netdev": "net0", "mac": mac, "romfile": ""});
    let mut words = Vec::new();
    let backends = qemu::backends(launch, launch.folder.path());
    if !backends.is_empty() {
        words.extend(backends.into_iter().flat_map(|backend| ["-netdev".to_owned(), backend]));
        words.extend(["-device".to_owned(), card.to_string()]);
    }
    for (index, drive) in launch.drives.iter().enumerate().filter(|(_, drive)| drive.bus == Bus::Nvme) {
        let node = format!("nvme{index}");
        let device =
            serde_json::json!({"driver": "nvme", "id": format!("drive{index}"), "drive": node, "serial": drive.serial});
        words.extend([
            "-blockdev".to_owned(),
            qemu::block_node(drive, &node)?,
            "-device".to_owned(),
            device.to_string(),
        ]);
    }
    Ok(words)
}

fn devices(out: &mut Out, launch: &Launch, parts: &Parts<'_>) -> io::Result<()> {
    let (mut virtio, mut scsi) = (0, 0);
    for (index, (drive, file)) in launch.drives.iter().zip(&parts.files).enumerate() {
        let (prefix, count) = match drive.bus {
            Bus::Virtio => ("vd", &mut virtio),
            Bus::Scsi | Bus::Cdrom => ("sd", &mut scsi),
            Bus::Nvme => continue,
        };
        disk(out, drive, file, &format!("{prefix}{}", disk_letters(*count)), index)?;
        *count += 1;
    }
    if scsi > 0 {
        leaf(out, "controller", &[("type", "scsi"), ("index", "0"), ("model", "virtio-scsi")])?;
    }
    leaf(out, "controller", &[("type", "usb"), ("model", "none")])?;
    node(out, "channel", &[("type", "unix")], |out| {
        leaf(out, "source", &[("mode", "bind"), ("path", &parts.agent)])?;
        leaf(out, "target", &[("type", "virtio"), ("name", PORT_NAME)])
    })?;
    node(out, "serial", &[("type", "unix")], |out| {
        leaf(out, "source", &[("mode", "bind"), ("path", &parts.console)])?;
        leaf(out, "log", &[("file", &parts.log), ("append", "on")])?;
        leaf(out, "target", &[("type", "isa-serial"), ("port", "0")])
    })?;
    node(out, "rng", &[("model", "virtio")], |out| leaf(out, "backend", &[("model", "builtin")]))?;
    leaf(out, "memballoon", &[("model", "none")])?;
    node(out, "video", &[], |out| leaf(out, "model", &[("type", "none")]))
}

fn disk(out: &mut Out, drive: &Drive, file: &str, target: &str, index: usize) -> io::Result<()> {
    let (device, bus) = match drive.bus {
        Bus::Cdrom => ("cdrom", "scsi"),
        Bus::Scsi => ("disk", "scsi"),
        Bus::Virtio | Bus::Nvme => ("disk", "virtio"),
    };
    node(out, "disk", &[("type", "file"), ("device", device)], |out| {
        leaf(out, "driver", &[("name", "qemu"), ("type", "raw"), ("discard", "unmap"), ("detect_zeroes", "off")])?;
        leaf(out, "source", &[("file", file)])?;
        leaf(out, "target", &[("dev", target), ("bus", bus)])?;
        if drive.read_only {
            leaf(out, "readonly", &[])?;
        }
        text(out, "serial", &[], &drive.serial)?;
        if drive.bus == Bus::Cdrom {
            // The kernel asks no device called `QEMU CD-ROM` for its serial (drivers/scsi/scsi_devinfo.c).
            text(out, "product", &[], "DISC")?;
        }
        if bus == "scsi" {
            // One target a disk: the kernel finds them in the order of their numbers.
            let number = index.to_string();
            let place =
                [("type", "drive"), ("controller", "0"), ("bus", "0"), ("target", number.as_str()), ("unit", "0")];
            leaf(out, "address", &place)?;
        }
        Ok(())
    })
}

/// QEMU's processor model in libvirt's words.
#[derive(Debug, PartialEq, Eq)]
enum Cpu<'a> {
    Mode(&'static str),
    Model { name: &'a str, features: Vec<(&'static str, &'a str)> },
}

impl<'a> Cpu<'a> {
    fn of(model: &'a str) -> Result<Self, LibvirtError> {
        let mut words = model.split(',');
        let name = words.next().unwrap_or_default();
        let features: Vec<_> = words
            .map(|word| match (word.strip_prefix('-'), word.strip_prefix('+')) {
                (Some(name), _) => Ok(("disable", name)),
                (_, Some(name)) => Ok(("require", name)),
                _ => Err(invalid("processor model", model, "a name, then features with + or -")),
            })
            .collect::<Result<_, _>>()?;
        match name {
            "host" if features.is_empty() => Ok(Self::Mode("host-passthrough")),
            "max" if features.is_empty() => Ok(Self::Mode("maximum")),
            "host" | "max" => Err(invalid("processor model", model, "host and max without features")),
            _ => Ok(Self::Model { name, features }),
        }
    }

    fn write(&self, out: &mut Out) -> io::Result<()> {
        match self {
            Self::Mode(mode) => leaf(out, "cpu", &[("mode", mode), ("check", "none")]),
            Self::Model { name, features } => {
                node(out, "cpu", &[("mode", "custom"), ("match", "exact"), ("check", "none")], |out| {
                    text(out, "model", &[("fallback", "forbid")], name)?;
                    features
                        .iter()
                        .try_for_each(|(policy, name)| leaf(out, "feature", &[("policy", policy), ("name", name)]))
                })
            }
        }
    }
}

fn leaf(out: &mut Out, name: &str, attributes: Attributes<'_>) -> io::Result<()> {
    out.create_element(name).with_attributes(attributes.iter().copied()).write_empty().map(drop)
}

fn text(out: &mut Out, name: &str, attributes: Attributes<'_>, content: &str) -> io::Result<()> {
    let element = out.create_element(name).with_attributes(attributes.iter().copied());
    element.write_text_content(BytesText::new(content)).map(drop)
}

fn node(
    out: &mut Out,
    name: &str,
    attributes: Attributes<'_>,
    inner: impl FnOnce(&mut Out) -> io::Result<()>,
) -> io::Result<()> {
    out.create_element(name).with_attributes(attributes.iter().copied()).write_inner_content(inner).map(drop)
}

fn path<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, LibvirtError> {
    let found = path.to_str().ok_or_else(|| invalid(what, &path.to_string_lossy(), "UTF-8"))?;
    legible(what, found)?;
    Ok(found)
}

/// Refuses the folder of an attempt whose sockets have paths that are too long.
pub(super) fn sockets_fit(folder: &cloud_machine_store::AttemptFolder) -> Result<(), LibvirtError> {
    socket(&folder.agent_socket())?;
    socket(&folder.console_socket()).map(drop)
}

fn socket(socket: &Path) -> Result<String, LibvirtError> {
    let what = "path of a socket";
    let found = path(what, socket)?;
    if found.len() > MAX_SOCKET {
        return Err(invalid(what, found, "at most 107 bytes, which is what the kernel takes from libvirt"));
    }
    Ok(found.to_owned())
}

/// Refuses what XML cannot hold, or would give back as something else.
fn legible(what: &'static str, text: &str) -> Result<(), LibvirtError> {
    let bad = |character: char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}');
    if text.contains(bad) { Err(invalid(what, text, "no control characters")) } else { Ok(()) }
}

fn invalid(what: &'static str, found: &str, allowed: &'static str) -> LibvirtError {
    LibvirtError::InvalidDomain { what, found: found.chars().take(200).collect(), allowed }
}

/// What a domain's description says; a text when it is none. It is ours when it says so with the name of the machine.
pub(super) fn read(xml: &str, machine: &MachineName) -> Result<Domain, String> {
    let mut reader = NsReader::from_str(xml);
    let mut domain = None;
    // Of each element that is open, whether it is the one that the way to ours leads through.
    let mut open: Vec<bool> = Vec::new();
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        let (start, empty) = match &event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Eof if !open.is_empty() => return Err("it ends in the middle".to_owned()),
            Event::Eof => return domain.ok_or_else(|| "it describes no domain".to_owned()),
            _ => continue,
        };
        let on_the_way = open.iter().all(|on| *on);
        let (local, unbound) = (start.local_name().into_inner(), matches!(namespace, ResolveResult::Unbound));
        let on = match open.len() {
            0 if unbound && local == "domain" => {
                domain = Some(Domain { active: has_id(start)?, ours: false });
                true
            }
            1 => on_the_way && unbound && local == "metadata",
            2 if on_the_way && namespace == ResolveResult::Bound(Namespace(OURS)) => {
                if let (Some(domain), true) = (&mut domain, local == "machine") {
                    domain.ours = attribute(start, "name")?.is_some_and(|name| name == machine.as_str());
                }
                false
            }
            _ => false,
        };
        if !empty {
            open.push(on);
        }
    }
}

/// libvirt gives a number to what runs, and to nothing else.
fn has_id(start: &BytesStart<'_>) -> Result<bool, String> {
    let Some(value) = attribute(start, "id")? else { return Ok(false) };
    value.parse::<u32>().map(|_| true).map_err(|_| format!("its id is {value:?}"))
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let Some(found) = start.try_get_attribute(name).map_err(|error| error.to_string())? else { return Ok(None) };
    let value = found.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
    Ok(Some(value.into_owned()))
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;
