//! Several documents, with a NUL between two: they are refused, or they merge, and the result keeps the laws of
//! merging. Must not know what a key means.
#![no_main]

use cloud_machine_config::{Document, LayerKind, Merged, defaults, merge, parse, set, unset};
use libfuzzer_sys::fuzz_target;

const LAYERS: [LayerKind; 5] =
    [LayerKind::Global, LayerKind::Project, LayerKind::CommandLine, LayerKind::CloudInitUrl, LayerKind::Volume];

fn document(index: usize, bytes: &[u8]) -> Option<Document> {
    let text = std::str::from_utf8(bytes).ok();
    match (bytes.first(), text) {
        (Some(b'='), Some(text)) => set(index, text.get(1..)?).ok(),
        (Some(b'-'), Some(text)) if !text.starts_with("---") => unset(index, text.get(1..)?).ok(),
        _ => parse(*LAYERS.get(index % LAYERS.len())?, &format!("f{index}"), bytes).ok(),
    }
}

fn values(merged: &Merged) -> Vec<String> {
    merged.leaves().iter().map(|leaf| format!("{}: {:?} {}", leaf.path, leaf.value, leaf.origin)).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(8).collect();
    let documents: Vec<Document> =
        parts.iter().enumerate().filter_map(|(index, part)| document(index, part)).collect();
    let merged = match merge(&documents) {
        Ok(merged) => merged,
        Err(errors) => {
            let text = errors.to_string();
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            return;
        }
    };

    // What was merged travels, and says the same on the other side.
    let layers = Document::from_layers(&merged.to_layers()).unwrap_or_else(|errors| panic!("{errors}"));
    let again = merge(&[layers]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(format!("{:?}", again.leaves()), format!("{:?}", merged.leaves()));
    assert_eq!(again.to_yaml(), merged.to_yaml());

    // Merging once more than needed changes no value. Lists that extend do so twice.
    if !bytes.contains(&b'%') && !bytes.windows(3).any(|three| three == b"!ap" || three == b"!pr") {
        let twice: Vec<Document> = documents.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
        let twice = merge(&twice).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(values(&twice), values(&merged));
    }

    // Secrets leave no trace, and what is left loads.
    let shown = merged.redacted(&|_| "[redacted]".to_owned());
    assert_eq!(shown.leaves().len(), merged.leaves().len());
    if let Ok(document) = parse(LayerKind::User, "shown", shown.to_yaml().as_bytes()) {
        merge(&[defaults(), document]).unwrap_or_else(|errors| panic!("{errors}"));
    }
});
