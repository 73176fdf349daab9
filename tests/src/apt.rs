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
    let release = format!(
        "Suite: stable\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n {} {} Packages\n",
        sha256(index.as_bytes()),
        index.len()
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Answer, Server};

    #[test]
    fn apt_finds_the_package_and_fetches_it() {
        let server = Server::start(Answer::Files(repository("greeting", "hello\n")));
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["state/lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let root = server.root().replace("10.0.2.2", "127.0.0.1");
        fs::write(at("etc/sources.list"), format!("deb [trusted=yes] {root} ./\n")).unwrap();
        fs::write(at("status"), "").unwrap();
        let options = [
            format!("Dir::State={}", at("state").display()),
            format!("Dir::State::status={}", at("status").display()),
            format!("Dir::Cache={}", at("cache").display()),
            format!("Dir::Etc={}", at("etc").display()),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Retries=0".to_owned(),
        ];
        for command in [["update", "--error-on=any"], ["download", "greeting"]] {
            let mut apt = Command::new("apt-get");
            apt.current_dir(folder.path()).args(options.iter().flat_map(|option| ["-o", option])).args(command);
            let ended = apt.output().expect("apt-get");
            let said = [ended.stdout, ended.stderr].concat();
            assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
        }
        let fetched = fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
        assert!(fetched.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".deb")));
    }
}
