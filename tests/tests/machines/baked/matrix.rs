//! One promise, held against combinations of release, generator of initramfs files, firmware, and what root and data lie on. Too dear for
//! each run of all tests: `make matrix` runs them, and what cannot be tried fails.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::Instant,
};

use cloud_machine_tests::{
    artifacts::{Artifacts, baked_image, next_baked_image, zfs_baked_image, zfs_image},
    baked::{BakedRoot, Generator},
    libvirtd::Libvirtd,
};

use super::{
    disks::{Root, put},
    machine::{Baked, Begin},
    promise::{Address, Data, Promise, Signer},
};

/// How the agent comes into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// `image bake`, in a machine.
    Command,
    /// `initramfs/baked/install` and the generator, in the root folder.
    Script,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Debian's.
    release: u32,
    generator: Generator,
    by: By,
    begin: [Begin; 3],
    root: Root,
    data: Data,
    /// Where the machine's clock begins, `-rtc base=` of QEMU. The policy wants a volume that somebody has signed then, and nothing else
    /// makes one count: what has a signature could have a time.
    clock: Option<&'static str>,
    /// The bus at which the volume is an optical disc where libvirt starts the machine, and not the test.
    libvirt: Option<&'static str>,
}

const fn row(release: u32, generator: Generator, by: By, begin: [Begin; 3], root: Root) -> Row {
    Row { release, generator, by, begin, root, data: Data::Ext4, clock: None, libvirt: None }
}

/// A root as in the image.
const fn signed(release: u32, generator: Generator, begin: [Begin; 3], clock: &'static str) -> Row {
    Row { clock: Some(clock), ..row(release, generator, By::Script, begin, Root::Ext4) }
}

/// Likewise, and a pool as data disk.
const fn pool(generator: Generator, begin: [Begin; 3]) -> Row {
    Row { data: Data::Pool, ..row(12, generator, By::Script, begin, Root::Ext4) }
}

/// Likewise, as a domain of libvirt's.
const fn domain(release: u32, generator: Generator, begin: [Begin; 3], bus: &'static str) -> Row {
    Row { libvirt: Some(bus), ..row(release, generator, By::Script, begin, Root::Ext4) }
}

const TOOLS: Generator = Generator::InitramfsTools;
const DRACUT: Generator = Generator::Dracut;
const BIOS: [Begin; 3] = [Begin::Bios; 3];
const UEFI: [Begin; 3] = [Begin::Uefi; 3];
const BOTH: [Begin; 3] = [Begin::Uefi, Begin::Bios, Begin::Uefi];

const ROWS: [Row; 22] = [
    row(13, TOOLS, By::Command, BOTH, Root::Ext4),
    row(13, DRACUT, By::Command, BOTH, Root::Ext4),
    row(12, DRACUT, By::Command, BOTH, Root::Ext4),
    row(12, TOOLS, By::Script, BIOS, Root::Lvm),
    row(12, DRACUT, By::Script, UEFI, Root::Lvm),
    row(13, TOOLS, By::Script, UEFI, Root::Lvm),
    row(13, DRACUT, By::Script, BIOS, Root::Lvm),
    row(12, TOOLS, By::Script, UEFI, Root::Xfs),
    row(12, DRACUT, By::Script, BIOS, Root::Xfs),
    row(13, TOOLS, By::Script, BIOS, Root::Xfs),
    row(13, DRACUT, By::Script, UEFI, Root::Xfs),
    row(12, TOOLS, By::Script, BIOS, Root::LvmUsr),
    row(12, DRACUT, By::Script, BIOS, Root::LvmUsr),
    row(12, TOOLS, By::Script, UEFI, Root::Zfs),
    row(12, DRACUT, By::Script, BIOS, Root::Zfs),
    pool(TOOLS, BIOS),
    pool(DRACUT, UEFI),
    // The kernel for clouds of Debian 12 has no driver of SATA as q35 has it (AHCI).
    domain(12, TOOLS, BOTH, "scsi"),
    domain(13, DRACUT, BOTH, "sata"),
    signed(12, TOOLS, BIOS, "1970-01-01"),
    signed(13, DRACUT, UEFI, "2040-01-01"),
    signed(13, TOOLS, BIOS, "1970-01-01"),
];

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, generator, by, begin, root, data, clock, libvirt } = self;
        let firmware: Vec<String> = begin.iter().map(|begin| format!("{begin:?}")).collect();
        write!(f, "{release} {} {by:?} {} root-{root:?} data-{data:?}", generator.name(), firmware.join(","))?;
        if let Some(bus) = libvirt {
            write!(f, " libvirt {bus}")?;
        }
        clock.map_or(Ok(()), |clock| write!(f, " clock-{clock}"))
    }
}

impl Row {
    /// Whether its text has all words of `CLOUD_MACHINE_BAKED_MATRIX`.
    fn is_wanted(&self) -> bool {
        let words = std::env::var("CLOUD_MACHINE_BAKED_MATRIX").unwrap_or_default();
        words.split_whitespace().all(|word| self.to_string().split(' ').any(|own| own == word))
    }

    fn image(&self) -> PathBuf {
        let image = match self.release {
            12 if self.root == Root::Zfs => zfs_baked_image(),
            12 => baked_image(),
            _ => next_baked_image(),
        };
        image.expect("the image")
    }

    fn machine(&self, artifacts: &Artifacts, policy: &str) -> Baked {
        let image = self.image();
        if self.by == By::Command {
            assert_eq!((self.root, self.data), (Root::Ext4, Data::Ext4), "the command bakes the image as it is");
            return Baked::by_command(&image, artifacts, policy, Some(self.generator));
        }
        let tree = BakedRoot::unpack(&image);
        if self.data == Data::Pool || self.root == Root::Zfs {
            tree.add_zfs(&zfs_image().expect("the image with ZFS"));
        }
        tree.install(&artifacts.agent, Some(policy));
        Baked::own(&image, |disk| put(self.root, &tree, self.generator, &image, disk))
    }

    fn run(&self, artifacts: &Artifacts) {
        let address = Address::start();
        let mut policy = address.policy();
        let signer = Signer::new();
        let sign = |volume: &std::path::Path| signer.sign(volume);
        if self.clock.is_some() {
            policy += &signer.policy("signed");
        }
        if self.data == Data::Pool {
            policy += "filesystems: [ext4, zfs]\n";
        }
        let mut machine = self.machine(artifacts, &policy);
        if let Some(clock) = self.clock {
            machine.options = vec!["-rtc".into(), format!("base={clock}T12:00:00")];
            machine.volumes = "format=raw";
        }
        machine.libvirt = self.libvirt.map(|bus| (Libvirtd::start(), bus));
        let promise = Promise {
            begin: self.begin,
            data: self.data,
            by_serial: self.root.is_named_by_a_job(),
            // An optical disc is none of those.
            tools: if self.libvirt.is_some() { "vdc" } else { "vdd" },
            dirt: self.root.dirt(),
            root: self.root.mounted(),
            sign: self.clock.map(|_| &sign as &dyn Fn(&std::path::Path)),
        };
        promise.keep(&machine, &address);
        assert_eq!(address.requests(), 3, "one for each boot");
    }
}

#[test]
#[ignore = "takes an hour in emulation: `make matrix`"]
fn every_combination_boots_three_times_as_its_volume_describes_it() {
    let artifacts = Artifacts::from_environment_without_image().expect("the programs");
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.is_wanted()).collect();
    assert!(!rows.is_empty(), "no row has all words of CLOUD_MACHINE_BAKED_MATRIX");
    let mut failed = Vec::new();
    for row in rows {
        let start = Instant::now();
        // Each is tried, whatever became of those before.
        let passed = catch_unwind(AssertUnwindSafe(|| row.run(&artifacts))).is_ok();
        println!("{row}: {} after {} s", if passed { "passed" } else { "failed" }, start.elapsed().as_secs());
        if !passed {
            failed.push(row.to_string());
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}
