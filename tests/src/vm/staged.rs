//! A boot in which a machine reimages itself: the request is staged in its recovery partition, and nobody answers it. Must not start
//! anything.

use std::{fs, io};

use cloud_machine_disk::Disk;
use cloud_machine_image::{ReadBlocks, WriteBlocks};
use cloud_machine_packing::recovery::{self, Parts, bios, uefi};
use cloud_machine_protocol::{ImageSource, recovery as words};
use cloud_machine_recovery::{Area, Control, RESERVED, RecoveryPartition, State, UNIT};
use cloud_machine_store::identity;
use cloud_machine_volume::write as volume_image;

use super::Boot;
use crate::{fixture::Fixture, plain_machine::Start};

/// A partition of a disk file, as its own device shows it.
pub struct PartitionFile<'a> {
    /// The file of the disk.
    pub disk: &'a Disk,
    /// Where the partition is.
    pub partition: RecoveryPartition,
}

impl ReadBlocks for PartitionFile<'_> {
    fn size(&self) -> u64 {
        self.partition.length
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, self.partition.offset + offset)
    }
}

impl WriteBlocks for PartitionFile<'_> {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_at(buffer, self.partition.offset + offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.zero(self.partition.offset + offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl Boot {
    /// A boot whose image and request will be staged.
    ///
    /// # Panics
    /// When the fixture is broken.
    #[must_use]
    pub fn of_itself(fixture: &Fixture) -> Self {
        let mut boot = Self::good(fixture);
        let source = ImageSource::Connection { size: boot.packed.len() as u64 };
        boot.request["image"]["source"] = serde_json::to_value(&source).expect("JSON");
        boot.expected.image.source = source;
        boot.user_data = boot.user_data.replace("{boot-partition", "{devicepath: /dev/vda, boot-partition");
        boot
    }

    /// UUID of the machine.
    #[must_use]
    pub fn machine(&self) -> &str {
        &self.identity.machine_uuid
    }

    /// The request as it goes to a machine that starts by `firmware`, for a recovery partition of a disk of `disk_size` bytes.
    ///
    /// # Panics
    /// When it does not fit there.
    #[must_use]
    pub fn staged(&self, partition: RecoveryPartition, disk_size: u64, firmware: &Start) -> (Control, Vec<u8>) {
        let token = identity::nonce().expect("random bytes").to_string();
        let (kernel, initramfs) = (fs::read(self.image.kernel()), fs::read(self.image.initramfs()));
        let line = format!(
            "console=ttyS0 loglevel=6 panic=-1 noresume no_timer_check {} {}={token}",
            words::ARGUMENT,
            words::TOKEN_ARGUMENT
        );
        let parts = Parts {
            kernel: &kernel.expect("the kernel"),
            initramfs: &initramfs.expect("the initramfs"),
            command_line: &line,
        };
        let room = recovery::Area {
            offset: partition.offset,
            room: partition.length - RESERVED,
            sector_size: 512,
            counted: partition.starts_at(),
            before: partition.head_at(),
        };
        let boot = match firmware {
            Start::Uefi => uefi(&parts, None, room),
            Start::Bios | Start::Kernel { .. } => bios(&parts, room),
        };
        let boot = boot.expect("boot files");
        let volume = self.volume();
        let mut offset = 0;
        let mut area = |bytes: &[u8]| {
            let area = Area { offset, length: bytes.len() as u64 };
            offset = (offset + area.length).next_multiple_of(UNIT);
            area
        };
        let control = Control {
            version: Control::VERSION,
            state: State::Staged,
            token,
            machine: self.identity.machine_uuid.clone(),
            disk_size,
            place: partition.extent(),
            attempts: 0,
            failures: 0,
            used: Vec::new(),
            reason: None,
            boot_code: boot.boot_code.map(|code| code.iter().map(|byte| format!("{byte:02x}")).collect()),
            boot: area(&boot.bytes),
            volume: area(&volume),
            pin: volume_image::pin(&volume),
            image: area(&self.packed),
            nonce: self.expected.nonce,
            secrets: Some(self.secrets.clone()),
        };
        let mut stream = serde_json::to_vec(&control).expect("JSON");
        stream.push(b'\n');
        stream.extend(boot.bytes.iter().chain(&volume).chain(&self.packed));
        (control, stream)
    }
}
