//! The facts of one image as a result to show. Must not read the image's data.

use cloud_machine_image::Manifest;
use cloud_machine_protocol::escape;
use cloud_machine_store::{Captured, ImageFacts, SignatureRecord};
use serde::Serialize;

use crate::{
    command::image::{facts, pack::PackedImage},
    ui::Show,
};

/// Facts about an image, as its manifest states them.
#[derive(Serialize)]
pub(super) struct Inspected {
    name: String,
    digest: String,
    size: u64,
    data_bytes: u64,
    packed_bytes: u64,
    generation: u64,
    kernel_release: String,
    partitions: Vec<Partition>,
    signature: String,
    verified: bool,
    /// What its system has; `null` when that was not looked up, or lies elsewhere.
    facts: Option<ImageFacts>,
    /// From which machine's disk it was packed; absent when it was packed from a file, or lies elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    captured: Option<Captured>,
}

/// A partition of it. The manifest has the same under other keys.
#[derive(Serialize)]
struct Partition {
    number: u32,
    name: String,
    type_guid: String,
    unique_guid: String,
    offset: u64,
    length: u64,
}

impl Partition {
    fn of(partition: &cloud_machine_image::Partition) -> Self {
        let cloud_machine_image::Partition { number, name, type_guid, unique_guid, offset, length } = partition.clone();
        Self { number, name, type_guid, unique_guid, offset, length }
    }
}

impl Inspected {
    pub(super) fn new(manifest: &Manifest, signature: &SignatureRecord, verified: bool) -> Self {
        Self {
            name: manifest.name().to_owned(),
            digest: manifest.digest().to_string(),
            size: manifest.size(),
            data_bytes: manifest.data_bytes(),
            packed_bytes: manifest.packed_bytes(),
            generation: manifest.generation(),
            kernel_release: manifest.kernel_release().to_owned(),
            partitions: manifest.partitions().iter().map(Partition::of).collect(),
            signature: signature.to_string(),
            verified,
            facts: None,
            captured: None,
        }
    }

    /// Of an image that was just packed.
    pub(super) fn packed(packed: PackedImage) -> Self {
        let PackedImage { manifest, signature, facts, captured } = packed;
        Self::new(&manifest, &signature, false).with(Some(facts), captured)
    }

    /// With what is known of its system, and where it came from.
    pub(super) fn with(self, facts: Option<ImageFacts>, captured: Option<Captured>) -> Self {
        Self { facts, captured, ..self }
    }
}

impl Show for Inspected {
    const KIND: &'static str = "image";

    fn table(&self) -> String {
        let mut text = format!(
            "name         {}\ndigest       {}\nsize         {} bytes, {} of data\npacked       {} bytes\ngeneration   {}\nkernel       {}\nsignature    {}\n",
            self.name,
            self.digest,
            self.size,
            self.data_bytes,
            self.packed_bytes,
            self.generation,
            self.kernel_release,
            self.signature
        );
        for partition in &self.partitions {
            text.push_str(&format!(
                "partition    {} {:8} {} bytes at {}\n",
                partition.number,
                // A manifest has no control characters there, but it may have those that turn a line around.
                escape::line(partition.name.as_bytes(), 36),
                partition.length,
                partition.offset
            ));
        }
        let captured = self.captured.as_ref().map(ToString::to_string);
        text.extend(captured.map(|captured| facts::line("captured", &captured)));
        text.extend(self.facts.as_ref().map(facts::lines));
        if self.verified {
            text.push_str("verified     every block has its digest\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_keys_are_those_that_programs_read() {
        let partition = Partition {
            number: 1,
            name: "root".to_owned(),
            type_guid: String::new(),
            unique_guid: String::new(),
            offset: 0,
            length: 0,
        };
        let inspected = Inspected {
            name: "demo".to_owned(),
            digest: String::new(),
            size: 0,
            data_bytes: 0,
            packed_bytes: 0,
            generation: 1,
            kernel_release: String::new(),
            partitions: vec![partition],
            signature: String::new(),
            verified: false,
            facts: None,
            captured: None,
        };
        let json = serde_json::to_value(&inspected).unwrap();
        let keys = |value: &Value| {
            let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            keys.join(" ")
        };
        let image =
            "data_bytes digest facts generation kernel_release name packed_bytes partitions signature size verified";
        assert_eq!(keys(&json), image);
        assert_eq!(keys(&json["partitions"][0]), "length name number offset type_guid unique_guid");
    }
}
