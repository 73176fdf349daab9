//! What the host expects of a boot that it set up. Must hold nothing that came from the machine.

use std::fs;

use cloud_machine_config::validate;
use cloud_machine_driver::qemu::Drive;
use cloud_machine_image::{Table, read_manifest};
use cloud_machine_packing::FileBlocks;
use cloud_machine_plan::{Disposition, Expected, ExpectedDisk};
use cloud_machine_protocol::{Digest, RescueHostKey, Role, RootOfTrust};
use cloud_machine_volume::write::{self as volume_image};

use super::Boot;

impl Boot {
    /// Digest of the partition table that the system disk gets.
    fn table(&self, drives: &[Drive]) -> Option<Digest> {
        let system = drives.iter().find(|drive| drive.serial == "system")?;
        let size = fs::metadata(&system.file).expect("the system disk").len();
        let packed = FileBlocks::open(&self.image.packed()).expect("the packed image");
        let manifest = read_manifest(&packed).expect("a manifest");
        // A disk that is too small has none; the agent is what must refuse it.
        let table = if size < manifest.size() {
            None
        } else {
            Table::for_disk(&manifest, &packed, size, 512).expect("a table")
        };
        table.map(|table| table.digest())
    }

    pub(super) fn expectation(&self, pin: Digest, drives: &[Drive]) -> Expected {
        let size = |drive: &Drive| fs::metadata(&drive.file).map(|found| found.len()).unwrap_or_default();
        let disk = |drive: &Drive| {
            let (role, disposition) = match drive.serial.as_str() {
                "system" => (Role::Declared { name: "system".to_owned() }, Disposition::System),
                "cm-image" => (Role::ImageSource, Disposition::Keep),
                serial if serial.starts_with("cm-drive") => (Role::Drive, Disposition::Keep),
                _ => (Role::Volume, Disposition::Keep),
            };
            let (bus, read_only) = (drive.bus, drive.read_only);
            ExpectedDisk { bus, read_only, ..ExpectedDisk::new(&drive.serial, size(drive), role, disposition) }
        };
        let (merged, user_data) = self.document();
        // The agent is what must refuse one that is none.
        let configured = &validate(&merged).map(|config| config.ssh_authorized_keys).unwrap_or_default();
        let own: Vec<String> =
            self.identity.authorized_keys.iter().filter(|key| !configured.contains(key)).cloned().collect();
        let host = self.rescue.is_none();
        Expected {
            request: self.expected.clone(),
            volume: pin,
            document: volume_image::pin(user_data.as_bytes()),
            origins: merged.origins(),
            url: self.expected_url.clone(),
            drives_trusted: self.drives_trusted,
            disks: drives.iter().map(disk).collect(),
            volume_attached: host,
            table: self.table(drives),
            generation: self.layout.generation,
            root: self.layout.root.clone(),
            identity: self.identity.clone(),
            last_host_key: None,
            kept_host_key: None,
            authorized_keys: own.iter().chain(configured).cloned().collect(),
            own_keys: own.len(),
            agent: self.image.boot.agent,
            kernel_release: host.then(|| self.image.boot.kernel_release.clone()),
            packed_size: fs::metadata(self.image.packed()).expect("the packed image").len(),
            command_line: host.then(|| volume_image::pin(self.append(pin).as_bytes())),
            root_of_trust: if host { RootOfTrust::Host } else { RootOfTrust::Provider },
            rescue_host_key: (!host).then_some(RescueHostKey::Unknown),
        }
    }
}
