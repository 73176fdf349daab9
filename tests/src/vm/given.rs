//! What one boot is given: volume, drives, command line. Must not start anything.

use std::{fs, path::Path};

use cloud_machine_config::{LayerKind, Merged, defaults, merge, parse};
use cloud_machine_driver::qemu::{self, DirectBoot, Drive, Launch, Qemu, disk};
use cloud_machine_operation::{devices, volume::Contents};
use cloud_machine_protocol::{Bus, DeviceSelector, Digest, DriveRequest, ImageSource};
use cloud_machine_store::AttemptFolder;
use cloud_machine_volume::write::{self as volume_image};

use super::{Boot, Form};

impl Boot {
    /// Writes the drives into the request, unless a test did.
    pub(super) fn name_drives(&mut self) {
        let named = |(index, (bytes, _)): (usize, &(Vec<u8>, bool))| DriveRequest {
            device: DeviceSelector::Serial(devices::drive(index)),
            digest: volume_image::pin(bytes),
        };
        self.expected.drives = self.drives.iter().enumerate().map(named).collect();
        if self.request["drives"] == serde_json::json!([]) {
            self.request["drives"] = serde_json::to_value(&self.expected.drives).expect("JSON");
        }
    }

    /// The host's layers, and the document on the volume.
    pub(super) fn document(&self) -> (Merged, String) {
        let document = parse(LayerKind::Project, "case.yaml", self.user_data.as_bytes()).expect("a document");
        let merged = merge(&[defaults(), document]).expect("layers that merge").without_access();
        let user_data = format!("#cloud-init\n{}", merged.to_yaml());
        (merged, user_data)
    }

    pub(super) fn volume(&self) -> Vec<u8> {
        let request = serde_json::to_vec(&self.request).expect("JSON");
        let identity = serde_json::to_vec(&self.identity).expect("JSON");
        let (merged, user_data) = self.document();
        let layers = merged.to_layers();
        let dirty = self.dirty.as_ref().map(|dirty| serde_json::to_vec(dirty).expect("JSON"));
        let contents = Contents {
            user_data: self.other_user_data.unwrap_or(&user_data).as_bytes(),
            meta_data: b"instance-id: case\n",
            layers: &layers,
            request: &request,
            identity: &identity,
            manifest: &self.manifest,
            dirty: dirty.as_deref(),
            url_document: self.url_document.as_deref(),
        };
        contents.build().expect("a volume")
    }

    /// The drives, the pin of the volume, and its bytes.
    pub(super) fn drives(&self, folder: &AttemptFolder) -> (Vec<Drive>, Digest, Vec<u8>) {
        let mut bytes = self.volume();
        (self.before_pin)(&mut bytes);
        let pin = volume_image::pin(&bytes);
        (self.after_pin)(&mut bytes);
        let has_device = matches!(self.expected.image.source, ImageSource::Device(_));
        let image = has_device.then(|| (devices::IMAGE.to_owned(), self.packed.clone(), true));
        let drives = self.drives.iter().enumerate();
        let drives = drives.map(|(index, (bytes, read_only))| (devices::drive(index), bytes.clone(), *read_only));
        let system = ("system".to_owned(), self.system.clone(), false);
        let volume = (devices::VOLUME.to_owned(), bytes.clone(), true);
        let mut contents = devices::in_order([system], (Bus::Virtio, volume), image, drives);
        // A test may take the volume away, or attach it once more.
        contents.retain(|(serial, ..)| self.volumes > 0 || serial != devices::VOLUME);
        contents.extend((1..self.volumes).map(|index| (format!("{}{index}", devices::VOLUME), bytes.clone(), true)));
        contents.extend(self.more.iter().map(|(serial, bytes)| (serial.clone(), bytes.clone(), false)));
        let drive = |(serial, bytes, read_only): (String, Vec<u8>, bool)| {
            let file = folder.path().join(format!("{serial}.raw"));
            fs::write(&file, bytes).expect("a drive");
            let fault = self.fault.as_ref().filter(|(faulty, _)| *faulty == serial);
            let node = fault.map(|(_, node)| node.replace("FILE", &file.to_string_lossy()));
            let node = node.or_else(|| if serial == "system" { self.system_node(&file) } else { None });
            // The bus for the late one is there from the beginning.
            let bus = if self.late.is_some() && serial == "cm-image" { Bus::Scsi } else { Bus::Virtio };
            Drive { bus, file, serial, read_only, node }
        };
        (contents.into_iter().map(drive).collect(), pin, bytes)
    }

    /// The block node of the system disk, with its other file made anew.
    fn system_node(&self, file: &Path) -> Option<String> {
        let size = self.system.len() as u64;
        match self.form {
            Form::Raw => None,
            Form::Mapped => {
                let map = file.with_extension("map.qcow2");
                disk::new_map(&map, size).expect("a map");
                Some(disk::mapped_node(&map, file).expect("a node"))
            }
            Form::Overlay => {
                let overlay = file.with_extension("overlay.qcow2");
                disk::new_overlay(&overlay, file, size).expect("an overlay");
                Some(disk::overlay_node(&overlay, file).expect("a node"))
            }
        }
    }

    pub(super) fn launch(&self, folder: &AttemptFolder, drives: Vec<Drive>, pin: Digest) -> Launch {
        Launch {
            name: self.identity.name.clone(),
            uuid: self.identity.machine_uuid.clone(),
            memory_mib: 512,
            cpus: 1,
            accelerator: qemu::Accelerator::Tcg,
            cpu_model: qemu::TCG_CPU.to_owned(),
            boot: Some(DirectBoot {
                kernel: self.image.kernel(),
                initramfs: self.image.initramfs(),
                append: self.append(pin),
            }),
            drives,
            mac: self.identity.mac,
            connection: cloud_machine_protocol::Connection::User,
            nics: Vec::new(),
            ssh_port: None,
            folder: folder.clone(),
        }
    }

    /// The kernel command line.
    pub(super) fn append(&self, pin: Digest) -> String {
        let line = cloud_machine_operation::command_line(&Qemu::default(), pin);
        let Some(rescue) = self.rescue else { return line };
        let hold = rescue.hold.map(|device| format!(" hold={device}")).unwrap_or_default();
        let again = if rescue.hang_up.is_some() { " again=yes" } else { "" };
        format!("{line} rdinit=/rescue{hold}{again}")
    }
}
