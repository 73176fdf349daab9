//! Volumes made by the programs that people make them with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

pub(crate) const USER_DATA: &[u8] = b"#cloud-config\n{}\n";
pub(crate) const REQUEST: &[u8] = b"{\"format_version\": 1}";
/// The files of every volume here, sorted.
pub(crate) const FILES: [(&str, &[u8]); 4] = [
    ("cloud-machine/identity/empty", b""),
    ("cloud-machine/request.json", REQUEST),
    ("meta-data", b"instance-id: case\n"),
    ("user-data", USER_DATA),
];

/// Runs a program of the host; a missing one is a failure that names its package.
pub(crate) fn run(program: &str, package: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}): install the package {package}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with [`FILES`] in `tree`.
pub(crate) struct Workspace(TempDir);

impl Workspace {
    pub(crate) fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        for (path, content) in FILES {
            workspace.add(path, content);
        }
        workspace
    }

    pub(crate) fn add(&self, path: &str, content: &[u8]) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.0.path().join("tree")
    }

    fn image(&self) -> String {
        self.0.path().join("image").to_string_lossy().into_owned()
    }

    /// An ISO labelled `cidata` by `xorriso -as genisoimage`.
    pub(crate) fn xorriso(&self, options: &[&str]) -> Vec<u8> {
        let (image, tree) = (self.image(), self.tree());
        let mut arguments = vec!["-as", "genisoimage", "-quiet", "-output", &image, "-volid", "cidata"];
        arguments.extend(options);
        arguments.push(tree.to_str().unwrap());
        run("xorriso", "xorriso", &arguments);
        fs::read(image).unwrap()
    }

    /// The same by genisoimage itself.
    pub(crate) fn genisoimage(&self, options: &[&str]) -> Vec<u8> {
        let (image, tree) = (self.image(), self.tree());
        let mut arguments = vec!["-quiet", "-output", &image, "-volid", "cidata"];
        arguments.extend(options);
        arguments.push(tree.to_str().unwrap());
        run("genisoimage", "genisoimage", &arguments);
        fs::read(image).unwrap()
    }

    /// A FAT volume labelled `CIDATA`, by `mkfs.vfat` and `mcopy`.
    pub(crate) fn vfat(&self, mebibytes: u64, options: &[&str]) -> Vec<u8> {
        let image = self.image();
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let arguments: Vec<&str> = ["-n", "CIDATA"].iter().chain(options).copied().chain([image.as_str()]).collect();
        run("mkfs.vfat", "dosfstools", &arguments);
        let mut tops: Vec<String> =
            fs::read_dir(self.tree()).unwrap().map(|entry| text(&entry.unwrap().path())).collect();
        tops.sort();
        let arguments: Vec<&str> =
            ["-i", &image, "-s"].into_iter().chain(tops.iter().map(String::as_str)).chain(["::"]).collect();
        run("mcopy", "mtools", &arguments);
        fs::read(image).unwrap()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
