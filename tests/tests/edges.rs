//! The floors: every dependency between our packages leads down. Reads `cargo metadata`, so a new edge cannot hide.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Floor of each package.
const FLOORS: [(&str, u32); 23] = [
    ("cloud-machine-protocol", 0),
    ("cloud-machine-config", 1),
    ("cloud-machine-image", 1),
    ("cloud-machine-initramfs", 1),
    ("cloud-machine-plan", 1),
    ("cloud-machine-recovery", 1),
    ("cloud-machine-uki", 1),
    ("cloud-machine-volume", 1),
    ("cloud-machine-disk", 2),
    ("cloud-machine-system", 2),
    ("cloud-machine-boot-report", 2),
    ("cloud-machine-child", 2),
    ("cloud-machine-store", 2),
    ("cloud-machine-packing", 2),
    ("cloud-machine-driver", 2),
    ("cloud-machine-fetch", 2),
    ("cloud-machine-hetzner", 2),
    ("cloud-machine-operation", 3),
    ("cloud-machine-stager", 4),
    ("cloud-machine-guest-agent", 4),
    ("cloud-machine-agent-service", 4),
    ("cloud-machine-cli", 4),
    ("cloud-machine-tests", 5),
];
/// The only edges on one floor.
const SIDEWAYS: [(&str, &str); 16] = [
    ("cloud-machine-plan", "cloud-machine-config"),
    ("cloud-machine-plan", "cloud-machine-image"),
    ("cloud-machine-recovery", "cloud-machine-image"),
    ("cloud-machine-system", "cloud-machine-disk"),
    ("cloud-machine-agent-service", "cloud-machine-stager"),
    ("cloud-machine-packing", "cloud-machine-child"),
    ("cloud-machine-packing", "cloud-machine-disk"),
    ("cloud-machine-packing", "cloud-machine-store"),
    ("cloud-machine-driver", "cloud-machine-child"),
    ("cloud-machine-driver", "cloud-machine-disk"),
    ("cloud-machine-driver", "cloud-machine-hetzner"),
    ("cloud-machine-driver", "cloud-machine-packing"),
    ("cloud-machine-driver", "cloud-machine-store"),
    ("cloud-machine-hetzner", "cloud-machine-child"),
    ("cloud-machine-hetzner", "cloud-machine-fetch"),
    ("cloud-machine-hetzner", "cloud-machine-store"),
];
/// What the adapters must never see: what should be done is decided elsewhere.
const FORBIDDEN: [(&str, &str); 12] = [
    ("cloud-machine-system", "cloud-machine-plan"),
    ("cloud-machine-driver", "cloud-machine-plan"),
    ("cloud-machine-system", "cloud-machine-config"),
    ("cloud-machine-driver", "cloud-machine-config"),
    ("cloud-machine-store", "cloud-machine-plan"),
    ("cloud-machine-packing", "cloud-machine-driver"),
    ("cloud-machine-store", "cloud-machine-config"),
    ("cloud-machine-fetch", "cloud-machine-plan"),
    ("cloud-machine-fetch", "cloud-machine-config"),
    ("cloud-machine-hetzner", "cloud-machine-plan"),
    ("cloud-machine-hetzner", "cloud-machine-config"),
    ("cloud-machine-hetzner", "cloud-machine-driver"),
];

/// Edges between our packages.
fn edges() -> Vec<(String, String)> {
    dependencies().into_iter().filter(|(_, to)| to.starts_with("cloud-machine-")).collect()
}

/// What each of our packages depends on, tests' own dependencies left out.
fn dependencies() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let from = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if dependency["kind"] != "dev" {
                edges.push((from.to_owned(), to.to_owned()));
            }
        }
    }
    edges
}

fn fault(from: &str, to: &str, floors: &BTreeMap<&str, u32>) -> Option<String> {
    let (Some(upper), Some(lower)) = (floors.get(from), floors.get(to)) else {
        return Some(format!("{from} -> {to}: a package has no floor"));
    };
    let sideways = SIDEWAYS.contains(&(from, to));
    let forbidden = FORBIDDEN.contains(&(from, to));
    (forbidden || (upper <= lower && !sideways)).then(|| format!("{from} -> {to} does not lead down"))
}

#[test]
fn every_edge_leads_down() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    let edges = edges();
    assert!(edges.len() >= 15, "the edges were not read: {edges:?}");
    let faults: Vec<String> = edges.iter().filter_map(|(from, to)| fault(from, to, &floors)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Crates that belong to one front end: below the front ends nothing parses arguments, prints or draws.
const OF_FRONT_ENDS: [&str; 4] = ["clap", "clap_complete", "comfy-table", "indicatif"];

#[test]
fn only_front_ends_have_arguments_tables_and_bars() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    let faults: Vec<(String, String)> = dependencies()
        .into_iter()
        .filter(|(from, to)| {
            floors.get(from.as_str()).is_some_and(|floor| *floor < 4) && OF_FRONT_ENDS.contains(&to.as_str())
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(dependencies().contains(&("cloud-machine-cli".to_owned(), "clap".to_owned())), "nothing was read");
}

#[test]
fn an_upward_edge_is_seen() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    for (from, to) in [
        ("cloud-machine-protocol", "cloud-machine-config"),
        ("cloud-machine-config", "cloud-machine-plan"),
        ("cloud-machine-driver", "cloud-machine-plan"),
        ("cloud-machine-driver", "cloud-machine-system"),
        ("cloud-machine-fetch", "cloud-machine-config"),
        ("cloud-machine-fetch", "cloud-machine-system"),
        ("cloud-machine-unknown", "cloud-machine-plan"),
    ] {
        assert!(fault(from, to, &floors).is_some(), "{from} -> {to}");
    }
}

#[test]
fn every_pure_package_bans_effects() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
    for folder in [
        "crates/protocol",
        "crates/config",
        "crates/image",
        "crates/plan",
        "crates/recovery",
        "crates/uki",
        "crates/volume",
        "initramfs/standalone",
    ] {
        let bans = std::fs::read_to_string(root.join(folder).join("clippy.toml"))
            .unwrap_or_else(|error| panic!("{folder}/clippy.toml: {error}"));
        for banned in [
            "std::fs::read",
            "std::fs::File::open",
            "std::process::Command::new",
            "std::env::var",
            "std::time::SystemTime::now",
        ] {
            assert!(bans.contains(banned), "{folder}/clippy.toml does not ban {banned}");
        }
    }
}
