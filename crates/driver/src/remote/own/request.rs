//! What is staged on a machine for one attempt: the boot files with the agent, and where everything lies in the recovery partition.
//! Must not send anything.

use std::{fs, path::Path};

use cloud_machine_packing::recovery::{self as boot_files, BootArea, Parts};
use cloud_machine_protocol::{
    Digest, Extent, ImageSource, Request, Secrets,
    recovery::{ARGUMENT, TOKEN_ARGUMENT},
    volume,
};
use cloud_machine_recovery::{Area, Control, Firmware, MIN_SIZE, RESERVED, RecoveryPartition, State, Told, UNIT};
use cloud_machine_volume::{Volume, write::pin};

use super::super::fault::{failed, refused};
use crate::error::{DriverError, DriverErrorKind};

/// A request and the boot files in front of it.
pub(super) struct Staged {
    pub(super) control: Control,
    pub(super) boot: Vec<u8>,
}

/// What the boot files are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// What every agent's kernel is told.
    pub(super) command_line: &'a str,
}

/// Bytes of a sector of a disk that the boot files can be started from.
const SECTOR: u64 = 512;

/// Refuses a machine on which what is staged would not start, before anything is.
pub(super) fn can_start(told: &Told) -> Result<(), DriverError> {
    let (reason, way_out) = if told.version != Control::VERSION {
        let reason = format!("its program knows version {} of a request, this one {}", told.version, Control::VERSION);
        (reason, "install the package cloud-machine-agent of this version on the machine and in its image")
    } else if told.secure_boot != Some(false) {
        let whether = if told.secure_boot == Some(true) { "is on" } else { "may be on" };
        let reason = format!("secure boot {whether}, and the boot files of a request are not signed");
        (reason, "switch secure boot off in the machine's firmware, or use driver `ssh` with a rescue system")
    } else if told.sector_size != SECTOR {
        let reason =
            format!("its disk has sectors of {} bytes, and firmware starts boot files from {SECTOR}", told.sector_size);
        (
            reason,
            "use a disk with sectors of 512 bytes (`nvme format --lbaf` can change those of some), or driver `ssh`",
        )
    } else if told.length < MIN_SIZE || told.offset.checked_add(told.length).is_none_or(|end| end > told.disk_size) {
        let reason = "it says that its recovery partition is not on its disk".to_owned();
        (reason, "`cloud-machine-recovery show` on the machine says where it is")
    } else {
        return Ok(());
    };
    let text = format!("the machine cannot reimage itself: {reason}");
    Err(refused(text).with_way_out(Some(way_out.to_owned())))
}

/// The request on the host's volume.
pub(super) fn request(volume: &[u8]) -> Result<Request, DriverError> {
    let read = Volume::open(volume).and_then(|volume| volume.read(volume::REQUEST));
    let bytes = read.map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(format!("the volume's request cannot be read: {error}")))
}

impl Staged {
    /// Makes the boot files, and says where everything lies.
    pub(super) fn new(
        told: &Told,
        files: Files<'_>,
        (volume, secrets): (&[u8], Secrets),
        token: String,
    ) -> Result<Self, DriverError> {
        let request = request(volume)?;
        if told.machine.as_deref() != Some(request.machine_uuid.as_str()) {
            let found = told.machine.as_deref().unwrap_or("none");
            let text =
                format!("the request is for the machine with UUID {}, and this one has {found}", request.machine_uuid);
            return Err(refused(text));
        }
        if secrets.host_key.is_none() {
            let text = "the machine cannot reimage itself and change its host key: nobody would know that it answers afterwards";
            return Err(refused(text).with_way_out(Some("set `identity.ssh-host-keys: keep`".to_owned())));
        }
        let ImageSource::Connection { size } = request.image.source else {
            return Err(refused("a machine that reimages itself takes its image from this host"));
        };
        if request.image.size > told.offset {
            let text = format!(
                "the image has {} bytes, and the machine's recovery partition begins at byte {}",
                request.image.size, told.offset
            );
            return Err(refused(text).with_way_out(Some("take a smaller image".to_owned())));
        }
        let made = boot_area(told, files, &token)?;
        let boot = Area { offset: 0, length: made.bytes.len() as u64 };
        let volume_area = Area { offset: after(boot), length: volume.len() as u64 };
        let image = Area { offset: after(volume_area), length: size };
        let needed = after(image).saturating_add(RESERVED);
        if needed > told.length {
            let text = format!(
                "the recovery partition has {} bytes, and the request needs {needed}: {} of them are the packed image",
                told.length, size
            );
            let way_out = format!("`recovery: {}MiB` in the policy of the agent, in the next image", needed / UNIT);
            return Err(refused(text).with_way_out(Some(way_out)));
        }
        let control = Control {
            version: Control::VERSION,
            state: State::Staged,
            token,
            machine: request.machine_uuid,
            disk_size: told.disk_size,
            place: Extent { offset: told.offset, length: told.length },
            attempts: 0,
            failures: 0,
            used: Vec::new(),
            reason: None,
            boot_code: made.boot_code.map(|code| code.iter().map(|byte| format!("{byte:02x}")).collect()),
            boot,
            volume: volume_area,
            pin: pinned(volume),
            image,
            nonce: request.nonce,
            secrets: Some(secrets),
        };
        Ok(Self { control, boot: made.bytes })
    }
}

fn pinned(volume: &[u8]) -> Digest {
    pin(volume)
}

/// The first unit behind an area.
fn after(area: Area) -> u64 {
    area.offset.saturating_add(area.length).next_multiple_of(UNIT)
}

fn boot_area(told: &Told, files: Files<'_>, token: &str) -> Result<BootArea, DriverError> {
    let read = |path: &Path| fs::read(path).map_err(|error| failed(format!("cannot read {}: {error}", path.display())));
    let (kernel, initramfs) = (read(files.kernel)?, read(files.initramfs)?);
    let command_line = command_line(files.command_line, &told.consoles, token);
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: &command_line };
    let sector_size = u32::try_from(told.sector_size).unwrap_or(u32::MAX);
    let partition = RecoveryPartition { offset: told.offset, length: told.length };
    let room = told.length.saturating_sub(RESERVED);
    let (counted, before) = (partition.starts_at(), partition.head_at());
    let area = boot_files::Area { offset: told.offset, room, sector_size, counted, before };
    let made = match told.firmware {
        Firmware::Bios => boot_files::bios(&parts, area),
        Firmware::Uefi => boot_files::uefi(&parts, None, area),
    };
    made.map_err(|error| DriverError::new(DriverErrorKind::Failed, error))
}

/// What the kernel is told, with the consoles that the machine's own kernel has. They are the machine's words: what is no console is
/// left out.
fn command_line(every: &str, consoles: &[String], token: &str) -> String {
    let is_console = |text: &&String| {
        !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b',')
    };
    let consoles = consoles.iter().filter(is_console).take(4).map(|console| format!("console={console}"));
    let own = [ARGUMENT.to_owned(), format!("{TOKEN_ARGUMENT}={token}")];
    let words = every.split_whitespace().map(str::to_owned).chain(consoles).chain(own);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_told_no_word_of_the_machine_but_its_consoles() {
        let consoles = ["tty0", "ttyS0,115200", "x init=/bin/sh", "", "'"].map(str::to_owned);
        let line = command_line(" panic=-1  noresume", &consoles, "ab");
        let expected =
            "panic=-1 noresume console=tty0 console=ttyS0,115200 cloudmachine.mode=recovery cloudmachine.token=ab";
        assert_eq!(line, expected);
    }
}
