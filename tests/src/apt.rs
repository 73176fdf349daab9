//! A repository of Debian packages with one package, as apt(8) reads it. Must not be signed by anybody: who uses it says that it
//! is trusted.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use cloud_machine_volume::write::pin;

/// The files of a flat repository, by the path on its server: the package `name`, which brings one file, `/usr/share/NAME`, with
/// `text` in it.
///
/// # Panics
/// When the package cannot be made, such as without the program dpkg-deb.
#[must_use]
pub fn repository(name: &str, text: &str) -> BTreeMap<String, Vec<u8>> {
    let package = package(name, text);
    let index =
        format!("{}Filename: ./{name}.deb\nSize: {}\nSHA256: {}\n", control(name), package.len(), sha256(&package));
    let release = format!("Suite: stable\nSHA256:\n {} {} Packages\n", sha256(index.as_bytes()), index.len());
    let files =
        [("Release", release.into_bytes()), ("Packages", index.into_bytes()), (&format!("{name}.deb"), package)];
    // A client may or may not shorten the path of a flat repository.
    let paths = |path: &str| [format!("/./{path}"), format!("/{path}")];
    files.into_iter().flat_map(|(path, bytes)| paths(path).map(|path| (path, bytes.clone()))).collect()
}

fn control(name: &str) -> String {
    format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: one file\n"
    )
}

fn package(name: &str, text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write(&root.join("DEBIAN/control"), &control(name));
    write(&root.join("usr/share").join(name), text);
    let made = folder.path().join("made.deb");
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&made).output();
    let built = built.expect("dpkg-deb");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::read(made).expect("the package")
}

fn sha256(bytes: &[u8]) -> String {
    pin(bytes).to_string().trim_start_matches("sha256:").to_owned()
}
