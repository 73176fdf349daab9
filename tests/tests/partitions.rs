//! A disk with partitions on loop devices, with sectors of 512 and 4096 bytes: the real look and the real writer, the
//! plan between them, and readers that share no code with either. This program is its own probing child, as the agent is.

use std::{
    fs,
    os::unix::fs::FileExt,
    process::{Command, ExitCode},
};

use cloud_machine_config::{Config, LayerKind, defaults, merge, parse, validate};
use cloud_machine_disk::{Access, Disk as OpenDisk};
use cloud_machine_image::write_table;
use cloud_machine_plan::{ImageLayout, Plan, PlanError, RootPartition, plan};
use cloud_machine_protocol::{
    Action, Algorithm, Digest, Disk, FORMAT_VERSION, History, ImageRequest, ImageSource, Inventory, NewTable, Nonce,
    Partitions, Probe, Request, Step,
};
use cloud_machine_system::{partition_node, probe, reread_partition_table, survey};
use cloud_machine_tests::loop_device::{LoopDevice, run};
use libtest_mimic::{Arguments, Trial};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 64 * MIB;

/// One with sectors of this size.
type Test = fn(u64);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.iter().skip(1).cloned();
    let child = match arguments.first().map(String::as_str) {
        Some(probe::CHILD_ARGUMENT) => Some(probe::child(rest)),
        Some(survey::DETAILS_ARGUMENT) => Some(survey::child(rest)),
        _ => None,
    };
    if let Some(ended) = child {
        return if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let tests: [(&str, Test); 7] = [
        ("somebody_who_only_looks_at_a_partition_is_waited_for", somebody_who_only_looks_at_a_partition_is_waited_for),
        (
            "a_table_that_lost_its_protective_mbr_is_not_taken_for_nothing",
            a_table_that_lost_its_protective_mbr_is_not_taken_for_nothing,
        ),
        ("a_table_is_what_was_planned_and_is_used_again", a_table_is_what_was_planned_and_is_used_again),
        ("a_damaged_primary_is_not_taken_for_the_table", a_damaged_primary_is_not_taken_for_the_table),
        ("tables_of_other_disks_are_not_taken_for_the_table", tables_of_other_disks_are_not_taken_for_the_table),
        ("what_was_planted_shows_in_no_new_partition", what_was_planted_shows_in_no_new_partition),
        ("a_table_that_the_kernel_does_not_see_is_refused", a_table_that_the_kernel_does_not_see_is_refused),
    ];
    let trial = |(name, test, sector): (&str, Test, u64)| {
        Trial::test(format!("{name}::with_sectors_of_{sector}_bytes"), move || {
            test(sector);
            Ok(())
        })
    };
    let trials = tests.into_iter().flat_map(|(name, test)| [512, 4096].map(|sector| trial((name, test, sector))));
    let trials = trials.collect();
    // One after the other: the kernel's partitions of a loop device are looked at.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A disk over a file.
struct Scene {
    device: LoopDevice,
    /// Goes with the scene.
    _folder: tempfile::TempDir,
    sector: u64,
}

impl Scene {
    /// Made by a shell script in whose folder the disk is the file `disk`.
    fn new(sector: u64, script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("truncate -s {SIZE} disk\n{script}");
        run(Command::new("sh").args(["-euc", &script]).current_dir(folder.path()));
        Self { device: LoopDevice::new(&folder.path().join("disk"), sector), _folder: folder, sector }
    }

    fn file(&self) -> fs::File {
        fs::OpenOptions::new().read(true).write(true).open(self.device.path()).unwrap()
    }

    /// The disk as the agent finds it.
    fn found(&self) -> Disk {
        let name = self.device.name();
        let (probe, partitions) = (probe::probe(&name), Some(survey::partitions(&name)));
        Disk { partitions, ..disk(&name, "parts", SIZE, self.sector, probe) }
    }

    fn planned(&self, overwrite: bool) -> Result<Plan, PlanError> {
        self.planned_with(History::Unknown, overwrite)
    }

    fn planned_with(&self, history: History, overwrite: bool) -> Result<Plan, PlanError> {
        let request = Request { histories: [("parts".parse().unwrap(), history)].into(), ..request() };
        let inventory = Inventory {
            disks: vec![
                disk("vda", "system", 4 * MIB, 512, Probe::Empty),
                disk("vdz", "volume", MIB, 512, Probe::Empty),
                self.found(),
            ],
        };
        plan(&config(overwrite), &inventory, &request, &image(), Some("vdz"), &"demo".parse().unwrap())
    }

    /// What the plan makes of the disk.
    fn method(&self, overwrite: bool) -> String {
        self.planned(overwrite).unwrap_or_else(|error| panic!("{error}")).devices[2].method.to_string()
    }

    fn refusal(&self) -> String {
        self.planned(false).expect_err("it was planned").to_string()
    }

    /// Writes the table as for a disk that the host made.
    fn write(&self) -> NewTable {
        let planned = self.planned_with(History::New, false).unwrap_or_else(|error| panic!("{error}"));
        let table = planned.steps.iter().find_map(|step| match &step.step {
            Step::WriteTable { table, .. } => Some(table.clone()),
            _ => None,
        });
        let table = table.expect("the table is written");
        let target = OpenDisk::open(self.device.path(), Access::Write).unwrap();
        write_table(&target, &table).unwrap();
        table
    }
}

fn disk(name: &str, serial: &str, size: u64, sector: u64, probe: Probe) -> Disk {
    let (name, serial, sector_size) = (name.to_owned(), Some(serial.to_owned()), u32::try_from(sector).unwrap());
    Disk { name, serial, wwn: None, size, sector_size, read_only: false, discard: false, probe, partitions: None }
}

fn config(overwrite: bool) -> Config {
    let text = format!(
        "cloud-machine: {{resources: {{disks: {{system: {{boot-partition: true}}, parts: {{on-reimage: keep, overwrite: {overwrite}, \
         partitions: {{one: {{size: 16MiB, type: home, filesystem: {{type: ext4, label: one}}}}, raw: {{size: 25%}}, \
         last: {{number: 9, type: swap, filesystem: swap}}}}}}}}}}}}"
    );
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    validate(&merge(&[defaults(), document]).unwrap()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn digest() -> Digest {
    Digest::new(Algorithm::Blake3, [1; 32])
}

fn image() -> ImageLayout {
    let root = RootPartition { number: 1, offset: MIB / 2, length: MIB / 4, filesystem: "ext4".to_owned() };
    ImageLayout { digest: digest(), size: MIB, generation: 1, root }
}

fn request() -> Request {
    Request {
        version: FORMAT_VERSION,
        id: "01K9ZXN3QJ5J2Z6Q0V1T4W7Y8A".to_owned(),
        attempt: 1,
        nonce: Nonce::from_random([7; 32]),
        machine_uuid: "7d8f0c9e-4a9c-4b5e-9d63-5d6c1f0b2a11".to_owned(),
        action: Action::Boot,
        image: ImageRequest {
            name: "image".to_owned(),
            digest: digest(),
            size: MIB,
            source: ImageSource::Device("serial:image".parse().unwrap()),
            minimum_generation: 0,
            exceptions: Vec::new(),
        },
        tier: None,
        drives: Vec::new(),
        histories: std::collections::BTreeMap::new(),
        kept: std::collections::BTreeSet::new(),
        unsupported: Vec::new(),
        deadline_seconds: 600,
    }
}

/// Numbers, offsets and lengths.
fn places(table: &NewTable) -> Vec<(u32, u64, u64)> {
    table.partitions.iter().map(|one| (one.number, one.offset, one.length)).collect()
}

/// The same as two other programs read it.
fn read_by_others(scene: &Scene, table: &NewTable) {
    let sector = scene.sector;
    let found = gptman::GPT::read_from(&mut scene.file(), sector).unwrap();
    assert_eq!(found.header.disk_guid, table.uuid.to_bytes_le());
    let used = found.iter().filter(|(_, partition)| partition.is_used());
    let used: Vec<(u32, u64, u64)> = used
        .map(|(number, one)| (number, one.starting_lba * sector, (one.ending_lba + 1 - one.starting_lba) * sector))
        .collect();
    assert_eq!(used, places(table));
    let path = scene.device.path();
    let told = run(Command::new("sfdisk").arg("--verify").arg(path));
    let told = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("No errors detected"), "{told}");
    let dumped: serde_json::Value =
        serde_json::from_slice(&run(Command::new("sfdisk").arg("--json").arg(path)).stdout).unwrap();
    let dumped = &dumped["partitiontable"];
    assert_eq!((&dumped["label"], &dumped["sectorsize"]), (&"gpt".into(), &sector.into()));
    assert_eq!(dumped["id"].as_str().unwrap().to_lowercase(), table.uuid.to_string());
    let listed = dumped["partitions"].as_array().unwrap();
    assert_eq!(listed.len(), table.partitions.len());
    for (one, new) in listed.iter().zip(&table.partitions) {
        let text = |key: &str| one[key].as_str().unwrap().to_lowercase();
        assert!(text("node").ends_with(&format!("p{}", new.number)), "{one}");
        assert_eq!((text("name"), text("type")), (new.name.clone(), new.r#type.to_string()));
        assert_eq!(text("uuid"), new.uuid.to_string());
    }
}

fn a_table_is_what_was_planned_and_is_used_again(sector: u64) {
    let scene = Scene::new(sector, "");
    assert_eq!(scene.method(false), "create table, create ext4 on one, create swap on last");
    let table = scene.write();
    assert_eq!(places(&table), [(1, MIB, 16 * MIB), (2, 17 * MIB, 15 * MIB), (9, 32 * MIB, 31 * MIB)]);
    read_by_others(&scene, &table);

    // The table is used, and what is not in it yet is made; then all of it is used.
    assert_eq!(scene.method(false), "reuse table, create ext4 on one, create swap on last");
    let path = scene.device.path().display().to_string();
    for one in &table.partitions {
        let (number, start, length) = (one.number, one.offset / 512, one.length / 512);
        // Told and not read: a kernel need not understand the table for this.
        let told = [&path, &number.to_string(), &start.to_string(), &length.to_string()].map(String::clone);
        run(Command::new("addpart").args(told));
        partition_node(&scene.device.name(), number, one.offset, one.length).unwrap();
    }
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "one"]).arg(format!("{path}p1")));
    run(Command::new("mkswap").arg(format!("{path}p9")));
    run(Command::new("delpart").args([&path, "1"]));
    assert_eq!(scene.method(false), "reuse table, reuse ext4 on one, reuse swap on last");
    assert!(!scene.planned(true).unwrap().steps.iter().any(|step| step.id.0.contains("parts")));
    // Another label in the partition is another content: of it alone.
    run(Command::new("mkswap").args(["-L", "any"]).arg(format!("{path}p9")));
    run(Command::new("addpart").args([&path, "1", "2048", "32768"]));
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "CIDATA"]).arg(format!("{path}p1")));
    let refusal = scene.refusal();
    let told = "must hold ext4 labelled `one` but holds ext4 labelled `CIDATA`; `overwrite: true` would";
    assert!(
        refusal.starts_with("the partition `one` of the disk `parts` on loop") && refusal.contains(told),
        "{refusal}"
    );
    assert_eq!(scene.method(true), "reuse table, wipe one zero, create ext4 on one, reuse swap on last");
    for number in ["1", "2", "9"] {
        run(Command::new("delpart").args([&path, number]));
    }
}

fn a_damaged_primary_is_not_taken_for_the_table(sector: u64) {
    let scene = Scene::new(sector, "");
    let table = scene.write();
    scene.file().write_all_at(&[0; 92], sector).unwrap();
    scene.file().sync_all().unwrap();
    let Some(Partitions::Found { primary, partitions }) = scene.found().partitions else { panic!("no table") };
    assert_eq!((primary, partitions.len()), (false, table.partitions.len()));
    let refusal = scene.refusal();
    assert!(refusal.contains("holds a partition table whose primary copy is damaged; `overwrite"), "{refusal}");
    assert!(scene.method(true).starts_with("wipe zero, create table"));
}

/// A table of a larger disk of which the end is gone, one of a smaller disk that was grown, and a backup that nothing
/// points to.
fn tables_of_other_disks_are_not_taken_for_the_table(sector: u64) {
    let other = |size: u64| {
        let entry = format!("start={}, size={}", MIB / sector, 16 * MIB / sector);
        format!(
            "truncate -s {size} disk
            device=$(losetup --find --show --sector-size {sector} disk)
            printf 'label: gpt\\n{entry}\\n' | sfdisk -q $device
            losetup --detach $device; truncate -s {SIZE} disk\n"
        )
    };
    for size in [SIZE * 2, SIZE / 2] {
        let scene = Scene::new(sector, &other(size));
        let refusal = scene.refusal();
        assert!(refusal.contains("holds a partition table"), "{size}: {refusal}");
        assert!(scene.method(true).starts_with("wipe zero, create table"));
    }
    // Without the first MiB nothing points to the backup: nobody knows what the disk holds. On a disk that the host made it
    // is what a cut-off attempt left, and the new table wins at once.
    let scene = Scene::new(sector, &(other(SIZE) + "dd if=/dev/zero of=disk bs=1M count=1 conv=notrunc status=none"));
    is_somebodys(&scene);
    let table = scene.write();
    read_by_others(&scene, &table);
    // One of a smaller disk lies in the middle of a partition, where nobody looks for it.
    let smaller = other(SIZE / 2) + "dd if=/dev/zero of=disk bs=1M count=1 conv=notrunc status=none";
    let scene = Scene::new(sector, &smaller);
    is_somebodys(&scene);
    let table = scene.write();
    read_by_others(&scene, &table);
}

/// A look that finds no signature finds something all the same, and nothing is made over it.
fn is_somebodys(scene: &Scene) {
    assert_eq!(scene.found().probe, Probe::Unknown);
    for history in [History::Unknown, History::Made] {
        let refusal = scene.planned_with(history, false).expect_err("it was planned").to_string();
        assert!(refusal.contains("holds data of no kind that is known; "), "{refusal}");
    }
    assert!(scene.method(true).starts_with("wipe zero, create table"));
}

fn a_table_that_lost_its_protective_mbr_is_not_taken_for_nothing(sector: u64) {
    let scene = Scene::new(sector, "");
    scene.write();
    scene.file().write_all_at(&[0; 512], 0).unwrap();
    scene.file().sync_all().unwrap();
    is_somebodys(&scene);
}

/// Filesystems of an earlier job where the new partitions will begin, on a disk that shows nothing as a whole.
fn what_was_planted_shows_in_no_new_partition(sector: u64) {
    let scene = Scene::new(
        sector,
        "truncate -s 8M vfat ext4; mkfs.vfat -n CIDATA vfat >/dev/null; mkfs.ext4 -q -L CLOUD-INIT ext4
        dd if=vfat of=disk bs=1M seek=1 conv=notrunc status=none
        dd if=ext4 of=disk bs=1M seek=17 conv=notrunc status=none
        mkswap -q ext4; dd if=ext4 of=disk bs=1M seek=32 conv=notrunc status=none",
    );
    is_somebodys(&scene);
    let table = scene.write();
    read_by_others(&scene, &table);
    let Some(Partitions::Found { partitions, .. }) = scene.found().partitions else { panic!("no table") };
    // Both ends of each were made zero: what lies between has no signature any more.
    for partition in partitions {
        assert!(matches!(partition.probe, Probe::Empty | Probe::Unknown), "{partition:?}");
    }
}

/// The node that a step names has to be exactly where the step says.
fn a_table_that_the_kernel_does_not_see_is_refused(sector: u64) {
    let scene = Scene::new(sector, "");
    let table = scene.write();
    let (name, one) = (scene.device.name(), &table.partitions[0]);
    let seen = |offset: u64| partition_node(&name, 7, offset, one.length).map(|node| node.name);
    let error = seen(one.offset).unwrap_err().to_string();
    assert!(error.ends_with("partition 7 is absent"), "{error}");
    let path = scene.device.path().display().to_string();
    let (start, length) = (one.offset / 512, one.length / 512);
    run(Command::new("addpart").args([&path, "7", &start.to_string(), &length.to_string()]));
    assert_eq!(seen(one.offset).unwrap(), format!("{name}p7"));
    assert!(seen(one.offset + MIB).unwrap_err().to_string().contains("bytes at 1048576, expected"));
    run(Command::new("delpart").args([&path, "7"]));
}

/// As udev does, whenever a program has written to the disk.
fn somebody_who_only_looks_at_a_partition_is_waited_for(sector: u64) {
    let scene = Scene::new(sector, "");
    let path = scene.device.path().display().to_string();
    run(Command::new("addpart").args([&path, "1", "2048", "2048"]));
    let looking = fs::File::open(format!("{path}p1")).unwrap();
    // The kernel refuses as long as it is open.
    assert!(!Command::new("blockdev").args(["--rereadpt", &path]).output().unwrap().status.success());
    let looker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(looking);
    });
    reread_partition_table(&scene.device.name()).unwrap();
    looker.join().unwrap();
}
