//! A machine that reimages itself: a request in the recovery partition that the agent of its own initramfs made, and nobody at the
//! other end. Here it cannot be carried out; one that is, is `whole_way`'s.

use std::{io::Cursor, path::Path, time::Duration};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::{Report, ReportResult};
use cloud_machine_recovery::{Control, Head, OpenPartition, RESERVED, RecoveryPartition, State};
use cloud_machine_tests::{
    fixture::without_turn,
    plain_machine::{PlainMachine, Running, Start},
    vm::{Boot, PartitionFile},
};

const BOOT: Duration = Duration::from_secs(300);

/// A disk that starts by a BIOS, on which the agent of its initramfs has made a recovery partition.
struct Itself<'a> {
    disk: &'a Path,
    firmware: Start,
    boot: Boot,
}

impl Itself<'_> {
    fn start(&self) -> Running {
        let mut machine =
            PlainMachine { start: self.firmware.clone(), arguments: vec!["-uuid".into(), self.boot.machine().into()] };
        machine.disk(self.disk, "raw");
        machine.start()
    }

    /// Calls `work` with the disk, while no machine runs.
    fn with<T>(&self, work: impl FnOnce(&Disk, RecoveryPartition) -> T) -> T {
        let disk = Disk::open(self.disk, Access::Write).expect("the disk");
        let partition = RecoveryPartition::of(&disk).expect("a table").expect("a recovery partition");
        work(&disk, partition)
    }

    fn stage(&self, change: impl FnOnce(&mut Control)) {
        self.with(|disk, partition| {
            let (mut control, stream) = self.boot.staged(partition, disk.size(), &self.firmware);
            change(&mut control);
            let mut line = serde_json::to_vec(&control).expect("JSON");
            let end = stream.iter().position(|byte| *byte == b'\n').expect("a line");
            line.extend(&stream[end..]);
            let device = PartitionFile { disk, partition };
            let open = OpenPartition { device: &device, partition, disk_size: disk.size() };
            open.stage(&mut Cursor::new(line)).expect("it is staged");
        });
    }

    fn control(&self) -> Control {
        self.with(|disk, partition| Control::read(disk, partition)).expect("a control").expect("something is staged")
    }
}

/// On `disk`, with a recovery partition, whose system's root is in a partition of its own.
pub(crate) fn goes_on_as_it_was(disk: &Path, firmware: Start) {
    let fixture = without_turn();
    let mut machine = Itself { disk, firmware, boot: Boot::of_itself(&fixture) };
    // One for another machine does nothing but say so.
    machine.stage(|control| control.machine = "00000000-0000-0000-0000-000000000001".to_owned());
    let running = machine.start();
    running.wait_for("it is for machine 00000000-0000-0000-0000-000000000001, and this is", 0, BOOT);
    running.wait_for("Mounting root file system", 0, BOOT);
    drop(running);
    assert_eq!(machine.control().state, State::Failed);

    // One that cannot be carried out leaves the machine as it was.
    machine.boot.user_data = machine.boot.user_data.replace("/dev/vda", "serial:other");
    let before = machine.with(|disk, _| Head::read(disk).expect("the disk"));
    machine.stage(|_| {});
    let console = machine.start().wait_for_end(BOOT);
    assert!(console.contains("a reimage of vda is staged"), "{console}");
    assert_eq!(machine.control().state, State::Armed);
    machine
        .with(|disk, _| assert!(Head::read(disk).expect("the disk") != before, "the machine's own system would start"));
    let console = machine.start().wait_for_end(BOOT);
    let control = machine.control();
    assert_eq!(control.state, State::Failed, "{console}");
    assert!(control.reason.is_some_and(|reason| reason.contains("no disk matches serial:other")), "{console}");
    machine.with(|disk, _| assert!(Head::read(disk).expect("the disk") == before, "the boot head did not come back"));
}

/// The disk is what was asked for, and says so.
pub(crate) fn right(disk: &Disk, partition: RecoveryPartition, image: &[u8]) {
    let read = |offset: u64, length: u64| {
        let mut bytes = cloud_machine_image::AlignedBuffer::new(usize::try_from(length).expect("a length"));
        disk.read_at(&mut bytes, offset).expect("the disk");
        bytes.to_vec()
    };
    assert!(read(0, 4096)[..440] == image[..440], "the boot code is not that of the image");
    let staged = partition.length - RESERVED;
    assert!(read(partition.offset, staged).iter().all(|byte| *byte == 0), "what was staged is still there");
    let beyond = image.len() as u64;
    let rest = read(beyond, partition.offset - beyond);
    assert!(rest.iter().all(|byte| *byte == 0), "behind the image is something of the system before");
    let report = partition.report(disk).expect("the disk").expect("a report");
    let report: Report = serde_json::from_slice(&report).expect("a report");
    assert_eq!(report.result, ReportResult::Done);
    assert!(report.not_covered.iter().any(|text| text.contains("the recovery partition of vda")), "{report:#?}");
}
