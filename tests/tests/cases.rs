//! Cases: a configuration and an inventory in, a plan or a refusal out, as trees of files that a person can read.
//! `UPDATE_CASES=1 cargo test -p cloud-machine-tests --test cases` writes what is found; read the difference.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cloud_machine_config::{LayerKind, merge, parse, validate};
use cloud_machine_plan::{ImageLayout, RootPartition, plan};
use cloud_machine_protocol::{
    Action, DeviceSelector, FORMAT_VERSION, ImageRequest, ImageSource, Inventory, Nonce, Request, Step, StepId,
};
use serde::Serialize;

const MIB: u64 = 1 << 20;

#[derive(Serialize)]
struct PlanFile {
    steps: Vec<(StepId, Step)>,
    devices: Vec<(String, String)>,
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn layout() -> ImageLayout {
    ImageLayout {
        digest: format!("blake3:{}", "ab".repeat(32)).parse().unwrap(),
        size: 1024 * MIB,
        generation: 1,
        root: RootPartition { number: 2, offset: 97 * MIB, length: 925 * MIB, filesystem: "ext4".to_owned() },
    }
}

fn request(action: Action) -> Request {
    Request {
        version: FORMAT_VERSION,
        id: "01JD0000000000000000000000".to_owned(),
        attempt: 1,
        nonce: Nonce::from_random([7; 32]),
        machine_uuid: "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111".to_owned(),
        action,
        image: ImageRequest {
            name: "debian-12".to_owned(),
            digest: layout().digest,
            size: layout().size,
            source: ImageSource::Device(DeviceSelector::Serial("cm-image".to_owned())),
            minimum_generation: 1,
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

/// Folders in `tests/cases`: none may vanish unseen.
const CASES: usize = 17;

/// What the case gives: the text of `plan.json`, or that of `refusal`.
fn outcome(folder: &Path) -> Result<String, String> {
    let document = fs::read(folder.join("user-data")).unwrap();
    let inventory: Inventory = serde_json::from_slice(&fs::read(folder.join("inventory.json")).unwrap()).unwrap();
    let action = if folder.join("boot").exists() { Action::Boot } else { Action::Reimage };
    let config = parse(LayerKind::Volume, "user-data", &document)
        .and_then(|document| merge(&[document.pinned()]))
        .and_then(|merged| validate(&merged))
        .map_err(|errors| format!("{errors}\n"))?;
    let planned = plan(&config, &inventory, &request(action), &layout(), Some("vdc"), &"case".parse().unwrap())
        .map_err(|error| format!("{error}\n"))?;
    let file = PlanFile {
        steps: planned.steps.into_iter().map(|planned| (planned.id, planned.step)).collect(),
        devices: planned.devices.into_iter().map(|device| (device.disk.name, device.method.to_string())).collect(),
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&file).unwrap()))
}

#[test]
fn every_case_gives_what_it_says() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut folders: Vec<PathBuf> = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert_eq!(folders.len(), CASES, "a case came or went");
    for folder in folders {
        let (found, name, other) = match outcome(&folder) {
            Ok(plan) => (plan, "plan.json", "refusal"),
            Err(refusal) => (refusal, "refusal", "plan.json"),
        };
        if update {
            fs::write(folder.join(name), &found).unwrap();
        }
        assert!(!folder.join(other).exists(), "{} expects {other} and gives {name}:\n{found}", folder.display());
        let expected = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(found, expected, "{}/{name}", folder.display());
    }
}

#[test]
fn the_first_case_is_the_example_of_the_readme() {
    let readme = fs::read_to_string(cases().join("../../README.md")).unwrap();
    let example = fs::read_to_string(cases().join("01-example/user-data")).unwrap();
    assert!(
        readme.contains(&format!("```yaml\n{example}```")),
        "README.md does not show tests/cases/01-example/user-data"
    );
}
