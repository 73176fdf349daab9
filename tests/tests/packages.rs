//! The Debian packages: what is in them, and what a system has of them when they come, are renewed, and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cloud_machine_system::sha256;
use cloud_machine_tests::{
    artifacts::{Artifacts, baked_image},
    baked::{AGENT, BakedRoot, POLICY, Unpacked},
};

const NAMES: [&str; 4] =
    ["cloud-machine", "cloud-machine-agent", "cloud-machine-agent-dracut", "cloud-machine-agent-initramfs-tools"];

/// Where the packages lie in the root.
const FOLDER: &str = "root/packages";

/// What was built, by the name of the package, and the archive.
struct Built {
    packages: BTreeMap<String, PathBuf>,
    archive: PathBuf,
    _folder: tempfile::TempDir,
}

/// What a command said; it has to end with `code`.
fn said(output: Output, code: i32, what: &str) -> String {
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{what}: {said}");
    said
}

/// The service of the booted system and the program that stages a reimage there, which `make build` leaves beside the agent.
fn of_the_booted_system(artifacts: &Artifacts) -> [PathBuf; 2] {
    ["cloud-machine-agentd", "cloud-machine-recovery"].map(|name| {
        let program = artifacts.agent.with_file_name(name);
        assert!(program.is_file(), "{} is missing: `make build` makes it", program.display());
        program
    })
}

/// Runs `packages/build`, which fails when lintian finds an error.
fn build() -> Built {
    let artifacts = Artifacts::from_environment_without_image().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packages/build");
    let mut command = Command::new(script);
    let [service, stager] = of_the_booted_system(&artifacts);
    command.arg("--service").arg(service).arg("--stager").arg(stager);
    command.arg("--program").arg(artifacts.program).arg("--agent").arg(artifacts.agent).arg(folder.path());
    // dpkg-deb(1): nobody downloads these.
    command.env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    said(command.output().unwrap(), 0, "packages/build");
    let files: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let named = |beginning: &str| {
        let is_it = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(beginning);
        files.iter().find(is_it).unwrap_or_else(|| panic!("{beginning} is not among {files:?}")).clone()
    };
    let packages = NAMES.map(|name| (name.to_owned(), named(&format!("{name}_")))).into_iter().collect();
    let archive = named("cloud-machine-0");
    assert_eq!(files.len(), NAMES.len() + 1, "{files:?}");
    Built { packages, archive, _folder: folder }
}

/// The lines of `tar -tv` for what `command` writes: mode, owner, size, time and name of each file.
fn listed(command: &str, file: &Path) -> Vec<String> {
    let script = format!("{command} \"$0\" | TZ=UTC tar --list --verbose --numeric-owner --full-time");
    let mut bash = Command::new("bash");
    let text = said(bash.args(["-o", "pipefail", "-c", &script]).arg(file).output().unwrap(), 0, command);
    text.lines().map(str::to_owned).collect()
}

/// Packages of other programs have another version, whatever the commit is.
fn are_of_these_programs(built: &Built) {
    let artifacts = Artifacts::from_environment_without_image().unwrap();
    let [service, stager] = of_the_booted_system(&artifacts);
    let programs =
        [artifacts.program, artifacts.agent, service, stager].map(|program| fs::read(program).unwrap()).concat();
    let digest = &sha256(&programs).hex()[..8];
    for (name, package) in &built.packages {
        let mut version = Command::new("dpkg-deb");
        let version = said(version.arg("--field").arg(package).arg("Version").output().unwrap(), 0, name);
        assert!(version.trim().ends_with(&format!(".{digest}")), "{name} {version}: the programs are {digest}");
    }
}

/// All is root's and has the time of the last commit, and the archive has what the packages have: equal programs give equal packages.
fn are_of_the_commit(built: &Built) {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d %H:%M:%S"]).env("TZ", "UTC");
    let time = said(git.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap(), 0, "git log");
    let of_the_commit = format!(" {} ./", time.trim());
    let mut packed = BTreeSet::new();
    for package in built.packages.values() {
        for line in listed("dpkg-deb --fsys-tarfile", package) {
            assert!(line.contains(" 0/0 ") && line.contains(&of_the_commit), "{line}, and not {of_the_commit}");
            packed.insert(line);
        }
    }
    let folder = built.archive.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.zst");
    // RFC 8878: zstd(1) takes other formats, too.
    assert_eq!(fs::read(&built.archive).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    let archived = listed("zstd --decompress --stdout --quiet", &built.archive);
    let archived: BTreeSet<String> =
        archived.iter().map(|line| line.replacen(&format!("{folder}/"), "./", 1)).collect();
    assert_eq!(archived, packed);
    for file in [
        "usr/share/man/man1/cloud-machine-image-pack.1.gz",
        "usr/share/man/man8/cloud-machine-agent.8.gz",
        "usr/share/man/man8/cloud-machine-agentd.8.gz",
        "usr/share/man/man8/cloud-machine-recovery.8.gz",
        "usr/sbin/cloud-machine-recovery",
        "usr/share/man/man5/cloud-machine-agent.yaml.5.gz",
        "usr/share/bash-completion/completions/cloud-machine",
        "usr/share/zsh/vendor-completions/_cloud-machine",
        "usr/share/fish/vendor_completions.d/cloud-machine.fish",
    ] {
        assert!(packed.iter().any(|line| line.ends_with(&format!(" ./{file}"))), "no {file}");
    }
}

/// Each alone has the initramfs made anew.
fn have_the_trigger(built: &Built) {
    for name in ["cloud-machine-agent-dracut", "cloud-machine-agent-initramfs-tools"] {
        let mut info = Command::new("dpkg-deb");
        let text = said(info.arg("--info").arg(&built.packages[name]).arg("triggers").output().unwrap(), 0, name);
        assert!(text.lines().any(|line| line == "activate-noawait update-initramfs"), "{name}: {text}");
    }
}

/// A host that gets the program and the agent keeps its own initramfs.
fn nothing_brings_those_of_generators(built: &Built) {
    for name in ["cloud-machine", "cloud-machine-agent"] {
        let mut fields = Command::new("dpkg-deb");
        fields.arg("--field").arg(&built.packages[name]).args(["Pre-Depends", "Depends", "Recommends"]);
        let text = said(fields.output().unwrap(), 0, name);
        assert!(!text.contains("-dracut") && !text.contains("-initramfs-tools"), "{name}: {text}");
    }
}

/// Names, types and sizes of all in `root`, but for what changes by itself when packages come and go.
fn files(root: &Path) -> BTreeSet<String> {
    let ours =
        ["./var/lib/dpkg", "./var/log", "./var/lib/initramfs-tools", "./var/cache", "./boot/initrd.img-*", "./proc/*"];
    let mut find = Command::new("find");
    find.current_dir(root).arg(".").args(ours.iter().flat_map(|path| ["-path", path, "-prune", "-o"]));
    let text = said(find.args(["-printf", "%y %m %s %p %l\n"]).output().unwrap(), 0, "find");
    // A folder's size is that of the table in it, which does not shrink.
    let sizeless = |line: &str| match line.strip_prefix("d ") {
        Some(rest) => {
            rest.split(' ').enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
        }
        None => line.to_owned(),
    };
    text.lines().map(sizeless).collect()
}

/// The packages in a root, and the initramfs that is made there by itself.
struct Installed<'a> {
    root: &'a BakedRoot,
    initramfs: PathBuf,
}

impl Installed<'_> {
    fn dpkg(&self, action: &str, what: &[&str]) -> String {
        let words: Vec<&str> = ["dpkg", action].iter().chain(what).copied().collect();
        said(self.root.run(&words), 0, &words.join(" "))
    }

    fn run(&self, command: &[&str], code: i32) -> String {
        said(self.root.run(command), code, &command.join(" "))
    }

    fn made(&self) -> (u64, i64) {
        let metadata = fs::metadata(&self.initramfs).unwrap();
        (metadata.ino(), metadata.mtime_nsec())
    }

    fn has_agent(&self) -> bool {
        Unpacked::new(&self.initramfs).at(AGENT).exists()
    }
}

#[test]
fn packages_come_into_the_initramfs_and_go_without_a_trace() {
    let built = build();
    are_of_the_commit(&built);
    are_of_these_programs(&built);
    have_the_trigger(&built);
    nothing_brings_those_of_generators(&built);
    let root = BakedRoot::unpack(&baked_image().unwrap());
    let installed =
        Installed { root: &root, initramfs: root.path().join(format!("boot/initrd.img-{}", root.release())) };
    let before = files(root.path());
    let folder = root.path().join(FOLDER);
    fs::create_dir(&folder).unwrap();
    let to_install = NAMES.map(|name| format!("/{FOLDER}/{name}.deb"));
    for (name, package) in &built.packages {
        fs::copy(package, folder.join(format!("{name}.deb"))).unwrap();
    }
    let to_install = to_install.each_ref().map(String::as_str);

    // Without that of dracut, which has the same trigger.
    let first: Vec<&str> = to_install.into_iter().filter(|package| !package.contains("dracut")).collect();
    installed.dpkg("--install", &first);
    assert!(installed.has_agent(), "the agent is not in the initramfs");

    let policy = root.path().join(POLICY);
    fs::create_dir_all(policy.parent().unwrap()).unwrap();
    fs::write(&policy, "wipe: none\n").unwrap();
    let made = installed.made();
    installed.dpkg("--install", &to_install);
    assert_ne!(installed.made(), made, "not made again when the packages were renewed");
    works(&installed);
    has_the_service(&installed);
    assert_eq!(fs::read(Unpacked::new(&installed.initramfs).at(POLICY)).unwrap(), b"wipe: none\n");

    installed.dpkg("--remove", &NAMES);
    assert!(!installed.has_agent(), "the agent is still in the initramfs");
    assert!(policy.exists(), "the policy went with the packages");
    let settings = policy.parent().unwrap();
    for file in ["config.yaml", "config.d/10.yaml", "drivers/ssh/default.yaml", "of-somebody-else"] {
        fs::create_dir_all(settings.join(file).parent().unwrap()).unwrap();
        fs::write(settings.join(file), "").unwrap();
    }
    installed.dpkg("--purge", &NAMES);
    assert!(settings.join("of-somebody-else").exists(), "what is of no package went with them");
    fs::remove_file(settings.join("of-somebody-else")).unwrap();
    fs::remove_dir(settings).expect("nothing else");
    what_lies_behind_a_link_stays(&installed, &built);
    fs::remove_dir_all(folder).unwrap();
    let after = files(root.path());
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new(), "came and stayed");
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), Vec::<&String>::new(), "went");
}

/// What dpkg runs at a purge ends well and takes nothing away there.
fn what_lies_behind_a_link_stays(installed: &Installed<'_>, built: &Built) {
    let (elsewhere, link) = (installed.root.path().join("elsewhere"), installed.root.path().join("etc/cloud-machine"));
    fs::create_dir_all(elsewhere.join("drivers")).unwrap();
    fs::write(elsewhere.join("agent.yaml"), "").unwrap();
    symlink("../elsewhere", &link).unwrap();
    for name in ["cloud-machine", "cloud-machine-agent"] {
        let control = elsewhere.join(name);
        let mut unpack = Command::new("dpkg-deb");
        said(unpack.arg("--control").arg(&built.packages[name]).arg(&control).output().unwrap(), 0, name);
        installed.run(&["sh", &format!("/elsewhere/{name}/postrm"), "purge"], 0);
    }
    assert!(elsewhere.join("drivers").exists() && elsewhere.join("agent.yaml").exists() && link.is_symlink());
    fs::remove_file(link).unwrap();
    fs::remove_dir_all(elsewhere).unwrap();
}

/// The service is there with what systemd and the bus need of it, and nothing is enabled.
fn has_the_service(installed: &Installed<'_>) {
    let program = "/usr/lib/cloud-machine/cloud-machine-agentd";
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(installed.run(&[program, "--version"], 0), format!("cloud-machine-agentd {version}\n"));
    let name = "org.cloud_machine.Agent1";
    for file in [format!("system.d/{name}.conf"), format!("system-services/{name}.service")] {
        assert!(installed.root.path().join("usr/share/dbus-1").join(&file).is_file(), "no {file}");
    }
    assert_eq!(installed.run(&["systemctl", "is-enabled", "cloud-machine-agent.service"], 0), "static\n");
}

/// What people start of it, and what dracut sees.
fn works(installed: &Installed<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(installed.run(&["cloud-machine", "--version"], 0), format!("cloud-machine {version}\n"));
    assert_eq!(installed.run(&["cloud-machine-agent", "--version"], 0), format!("cloud-machine-agent {version}\n"));
    let checked = installed.run(&["cloud-machine-agent", "policy", "check"], 0);
    assert!(checked.contains("/etc/cloud-machine/agent.yaml"), "{checked}");
    let status = installed.run(&["cloud-machine-agent", "status"], 4);
    assert!(status.contains("the agent did not run when this machine started"), "{status}");
    let modules = installed.run(&["dracut", "--list-modules", "--kver", installed.root.release()], 0);
    assert!(modules.lines().any(|module| module == "cloud-machine"), "{modules}");
    // The agent is found without --agent, and what is no image is what it stops at.
    let kernel = format!("/boot/vmlinuz-{}", installed.root.release());
    let state = format!("/{FOLDER}/state");
    let refused = installed.run(&["cloud-machine", "--state", &state, "image", "pack", "none", "--input", &kernel], 1);
    assert!(refused.contains("has no GPT"), "{refused}");
}
