//! One document of any bytes: it is refused with an error that can be printed, or it loads, and then what is written
//! of it loads again to the same. Must not know what a key means.
#![no_main]

use cloud_machine_config::{Document, LayerKind, merge, parse, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let document = match parse(LayerKind::User, "f", bytes) {
        Ok(document) => document,
        Err(errors) => {
            let text = errors.to_string();
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            return;
        }
    };
    // All in one document: what it becomes may be larger than a document may be.
    let Ok(merged) = merge(&[document]) else {
        return;
    };
    let _ = validate(&merged).map_err(|errors| errors.to_string());

    let yaml = merged.to_yaml();
    let again = parse(LayerKind::User, "again", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{yaml}\n{errors}"));
    let again = merge(&[again]).unwrap_or_else(|errors| panic!("{yaml}\n{errors}"));
    assert_eq!(again.to_yaml(), yaml);

    let layers = merged.to_layers();
    let again = Document::from_layers(&layers).unwrap_or_else(|errors| panic!("{errors}"));
    let again = merge(&[again]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((again.to_yaml(), again.origins()), (yaml, merged.origins()));
    assert_eq!(again.to_layers(), layers);

    // Bytes of layers never come from a stranger; they are held to the same rule all the same.
    let _ = Document::from_layers(bytes).map_err(|errors| errors.to_string());
});
