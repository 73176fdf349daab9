//! No circles: no two modules of a crate need each other, neither directly nor by way of others. Reads the source of every
//! crate, so a new circle cannot hide.
//!
//! A module needs another one when it names something of it, in a `use` or in a path, in code or in what a macro is given.
//! What is compiled for tests only does not count. An inline module is part of its file. And:
//!
//! - A name counts for the module that has what it stands for, wherever it is offered: `crate::Name` for that of `Name`.
//! - A module that only offers what its children have (`pub use child::Name`) does not need them.
//! - A child may use the types, traits and constants of the modules around it: it is a part of them, and shares their
//!   words. A function of such a module is no word: a child that calls one, of a module that needs the child, is a circle.

mod graph;
mod modules;
mod planted;
mod references;

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

use graph::circles;
use modules::Modules;

/// Packages that may still have circles, each with the reason. None is ever added, and one that has no circle any more is
/// taken out.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// Fewer modules than these would mean that the source was not read.
const LEAST_MODULES: usize = 200;

/// Circles below the root file `root`, and how many modules there are.
fn below(root: &Path) -> (Vec<String>, usize) {
    let modules = Modules::below(root);
    (circles(&references::graph(&modules)), modules.0.len())
}

/// Name of each package, and the root files of its libraries and programs.
fn packages() -> Vec<(String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let package = |package: &Value| {
        let targets = package["targets"].as_array().expect("targets").iter();
        let built = targets.filter(|target| target["kind"][0] == "lib" || target["kind"][0] == "bin");
        (text(&package["name"]), built.map(|target| text(&target["src_path"])).collect())
    };
    metadata["packages"].as_array().expect("packages").iter().map(package).collect()
}

#[test]
fn no_two_modules_need_each_other() {
    let mut faults = Vec::new();
    let (mut read, mut excused) = (0, BTreeSet::new());
    for (package, roots) in packages() {
        let is_exception = EXCEPTIONS.iter().any(|(name, _)| *name == package);
        for root in roots {
            let (circles, modules) = below(Path::new(&root));
            read += modules;
            match circles.is_empty() {
                true => {}
                false if is_exception => drop(excused.insert(package.clone())),
                false => faults.extend(circles.iter().map(|circle| format!("{package}: {circle}"))),
            }
        }
    }
    assert!(read >= LEAST_MODULES, "only {read} modules were read");
    assert!(faults.is_empty(), "modules that need each other are one module in several files:\n{}", faults.join("\n"));
    for (package, reason) in EXCEPTIONS {
        assert!(
            excused.contains(package),
            "{package} ({reason}) has no circle any more: take it out of the exceptions"
        );
    }
}
