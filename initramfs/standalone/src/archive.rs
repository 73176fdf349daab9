//! The archive itself: a newc cpio (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst) whose bytes
//! depend on nothing but its content. Must not compress it, nor choose what goes in.

use std::io::Write;

use cpio::newc::{self, Builder, ModeFileType};

use crate::{InitramfsError, Programs, programs::ProgramEntry};

/// A kernel module as the agent loads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// File name without folders, such as `virtio_blk.ko`.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Modules that are loaded together, in the order in which that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Name of its list in the archive.
    pub name: String,
    /// The modules.
    pub modules: Vec<Module>,
}

const FOLDERS: [&str; 6] = ["dev", "proc", "sys", "run", "newroot", "modules"];
const MAX_COUNT: usize = 999;

/// Builds the initramfs: `/init` is `agent`, `/modules` has the modules of all `stages`, each once, and one file for each
/// stage, such as `/modules/boot`, the names of its modules, one a line. Each of the `programs` has its own path. The
/// same input gives the same bytes.
///
/// # Errors
/// When the agent or a module is empty or too large, a module has a strange name, there are too many, or a link of the
/// programs leads out of them.
pub fn build(agent: &[u8], stages: &[Stage], programs: &Programs) -> Result<Vec<u8>, InitramfsError> {
    if agent.is_empty() {
        return Err(InitramfsError::AgentEmpty);
    }
    let mut modules: Vec<&Module> = Vec::new();
    for module in stages.iter().flat_map(|stage| &stage.modules) {
        if !modules.contains(&module) {
            modules.push(module);
        }
    }
    if modules.len() > MAX_COUNT {
        return Err(InitramfsError::TooManyModules { count: modules.len() });
    }
    let mut archive = Archive { bytes: Vec::new(), entries: 0 };
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    // The kernel opens it as the standard streams of /init before anything could make it.
    archive.console()?;
    for (number, module) in modules.iter().enumerate() {
        check_module(module)?;
        archive.file(&format!("modules/{number:03}-{}", module.name), 0o644, &module.bytes)?;
    }
    for stage in stages {
        let number = |module: &Module| modules.iter().position(|one| *one == module).unwrap_or_default();
        let order: String =
            stage.modules.iter().map(|module| format!("{:03}-{}\n", number(module), module.name)).collect();
        archive.file(&format!("modules/{}", stage.name), 0o644, order.as_bytes())?;
    }
    for (path, entry) in programs.entries()? {
        match entry {
            ProgramEntry::Folder => archive.folder(path)?,
            ProgramEntry::File { executable: true, bytes } => archive.file(path, 0o755, bytes)?,
            ProgramEntry::File { executable: false, bytes } => archive.file(path, 0o644, bytes)?,
            ProgramEntry::Link { target } => archive.link(path, target)?,
        }
    }
    archive.file("init", 0o755, agent)?;
    archive.finish()
}

fn check_module(module: &Module) -> Result<(), InitramfsError> {
    let name = &module.name;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let stem = name.strip_suffix(".ko").filter(|stem| !stem.is_empty() && stem.len() <= 128);
    if !stem.is_some_and(|stem| stem.bytes().all(allowed)) {
        return Err(InitramfsError::ModuleName { name: name.chars().take(80).collect() });
    }
    if module.bytes.is_empty() {
        return Err(InitramfsError::ModuleEmpty { name: name.clone() });
    }
    Ok(())
}

/// An archive in the making. Inode numbers are those of the order, times and owners are zero.
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) -> Result<(), InitramfsError> {
        let entry = self.entry(name, ModeFileType::Directory, 0o755).nlink(2);
        self.add(name, entry, &[])
    }

    fn console(&mut self) -> Result<(), InitramfsError> {
        let name = "dev/console";
        let entry = self.entry(name, ModeFileType::Char, 0o600).rdev_major(5).rdev_minor(1);
        self.add(name, entry, &[])
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), InitramfsError> {
        let entry = self.entry(name, ModeFileType::Regular, mode);
        self.add(name, entry, content)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), InitramfsError> {
        let entry = self.entry(name, ModeFileType::Symlink, 0o777);
        self.add(name, entry, target.as_bytes())
    }

    fn entry(&mut self, name: &str, kind: ModeFileType, mode: u32) -> Builder {
        self.entries += 1;
        Builder::new(name).ino(self.entries).mode(mode).set_mode_file_type(kind)
    }

    fn add(&mut self, name: &str, entry: Builder, content: &[u8]) -> Result<(), InitramfsError> {
        let size = u32::try_from(content.len())
            .map_err(|_| InitramfsError::FileTooLarge { name: name.to_owned(), size: content.len() })?;
        let mut writer = entry.write(&mut self.bytes, size);
        let written = writer.write_all(content).and_then(|()| writer.finish().map(|_| ()));
        written.map_err(|source| InitramfsError::Archive { name: name.to_owned(), source })
    }

    fn finish(mut self) -> Result<Vec<u8>, InitramfsError> {
        let trailer = newc::trailer(&mut self.bytes).map(|_| ());
        trailer.map_err(|source| InitramfsError::Archive { name: "TRAILER!!!".to_owned(), source })?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    struct Entry {
        name: String,
        mode: u32,
        rdev: (u32, u32),
        content: Vec<u8>,
    }

    fn module(name: &str, bytes: &[u8]) -> Module {
        Module { name: name.to_owned(), bytes: bytes.to_vec() }
    }

    fn stage(name: &str, modules: Vec<Module>) -> Stage {
        Stage { name: name.to_owned(), modules }
    }

    fn programs() -> Programs {
        let mut programs = Programs::default();
        let file = |executable, bytes: &[u8]| ProgramEntry::File { executable, bytes: bytes.to_vec() };
        for (path, entry) in [
            ("usr", ProgramEntry::Folder),
            ("usr/sbin", ProgramEntry::Folder),
            ("usr/sbin/mkfs", file(true, b"program")),
            ("usr-a", ProgramEntry::Folder),
            ("sbin", ProgramEntry::Link { target: "usr/sbin".to_owned() }),
            ("etc", ProgramEntry::Folder),
            ("etc/mke2fs.conf", file(false, b"settings\n")),
        ] {
            programs.add(path, entry).unwrap();
        }
        programs
    }

    fn entries(archive: &[u8]) -> Vec<Entry> {
        let mut rest = archive;
        let mut entries = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            let entry = reader.entry();
            assert_eq!((entry.mtime(), entry.uid(), entry.gid()), (0, 0, 0));
            assert_eq!(entry.ino() as usize, entries.len() + 1);
            entries.push(Entry {
                name: entry.name().to_owned(),
                mode: entry.mode(),
                rdev: (entry.rdev_major(), entry.rdev_minor()),
                content,
            });
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn it_holds_what_the_kernel_and_the_agent_look_for() {
        let (ring, needed) = (module("virtio.ko", b"ring"), module("failover.ko", b"needed"));
        let stages = [
            stage("boot", vec![ring, module("virtio-rng.ko", b"random")]),
            stage("network", vec![needed.clone(), module("virtio_net.ko", b"net")]),
            stage("module-zfs", vec![needed, module("zfs.ko", b"zfs")]),
        ];
        let entries = entries(&build(b"agent", &stages, &Programs::default()).unwrap());
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "dev",
                "proc",
                "sys",
                "run",
                "newroot",
                "modules",
                "dev/console",
                "modules/000-virtio.ko",
                "modules/001-virtio-rng.ko",
                "modules/002-failover.ko",
                "modules/003-virtio_net.ko",
                "modules/004-zfs.ko",
                "modules/boot",
                "modules/network",
                "modules/module-zfs",
                "init",
            ]
        );
        let named = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(named("init").mode, 0o100_755);
        assert_eq!(named("init").content, b"agent");
        assert_eq!(named("newroot").mode, 0o040_755);
        assert_eq!((named("dev/console").mode, named("dev/console").rdev), (0o020_600, (5, 1)));
        assert_eq!(named("modules/000-virtio.ko").mode, 0o100_644);
        assert_eq!(named("modules/001-virtio-rng.ko").content, b"random");
        assert_eq!(named("modules/boot").content, b"000-virtio.ko\n001-virtio-rng.ko\n");
        assert_eq!(named("modules/network").content, b"002-failover.ko\n003-virtio_net.ko\n");
        assert_eq!(named("modules/module-zfs").content, b"002-failover.ko\n004-zfs.ko\n");
    }

    #[test]
    fn programs_are_at_their_own_paths_in_one_order() {
        let with = entries(&build(b"agent", &[], &programs()).unwrap());
        let without = entries(&build(b"agent", &[], &Programs::default()).unwrap()).len();
        let programs: Vec<_> = with
            .iter()
            .skip(without - 1)
            .map(|entry| (entry.name.as_str(), entry.mode, entry.content.as_slice()))
            .collect();
        let nothing: &[u8] = b"";
        assert_eq!(
            programs,
            [
                ("etc", 0o040_755, nothing),
                ("etc/mke2fs.conf", 0o100_644, b"settings\n"),
                ("sbin", 0o120_777, b"usr/sbin"),
                ("usr", 0o040_755, nothing),
                ("usr-a", 0o040_755, nothing),
                ("usr/sbin", 0o040_755, nothing),
                ("usr/sbin/mkfs", 0o100_755, b"program"),
                ("init", 0o100_755, b"agent"),
            ]
        );
    }

    #[test]
    fn a_link_out_of_the_programs_stops_the_build() {
        let mut programs = programs();
        programs.add("etc/passwd", ProgramEntry::Link { target: "../../etc/passwd".to_owned() }).unwrap();
        let error = build(b"agent", &[], &programs).unwrap_err();
        assert!(matches!(error, InitramfsError::ProgramLink { .. }), "{error}");
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let entries = entries(&build(b"agent", &[stage("boot", vec![module("a.ko", b"a")])], &programs()).unwrap());
        for (index, entry) in entries.iter().enumerate() {
            if let Some((folder, _)) = entry.name.rsplit_once('/') {
                assert!(entries[..index].iter().any(|earlier| earlier.name == folder), "{}", entry.name);
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_of_a_whole_number_of_words() {
        for length in 1..9 {
            let stages = [stage("boot", vec![module("a.ko", &vec![1; length])])];
            let archive = build(&vec![7; length], &stages, &programs()).unwrap();
            assert_eq!(archive, build(&vec![7; length], &stages, &programs()).unwrap());
            assert_eq!(archive.len() % 4, 0);
        }
    }

    #[test]
    fn no_module_at_all_leaves_an_empty_order() {
        let entries = entries(&build(b"agent", &[stage("boot", Vec::new())], &Programs::default()).unwrap());
        assert!(entries.iter().any(|entry| entry.name == "modules/boot" && entry.content.is_empty()));
    }

    #[test]
    fn bad_input_is_refused() {
        let none = Programs::default();
        let cases = [
            ("a.ko.xz", "invalid file name of a module \"a.ko.xz\""),
            ("../a.ko", "invalid file name of a module \"../a.ko\""),
            ("a\nb.ko", "invalid file name of a module \"a\\nb.ko\""),
            (".ko", "invalid file name of a module \".ko\""),
            ("a", "invalid file name of a module \"a\""),
        ];
        for (name, expected) in cases {
            let error = build(b"agent", &[stage("boot", vec![module(name, b"x")])], &none).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(build(b"", &[], &none).unwrap_err().to_string(), "agent is empty");
        let empty = stage("boot", vec![module("a.ko", b"")]);
        assert_eq!(build(b"x", &[empty], &none).unwrap_err().to_string(), "module \"a.ko\" is empty");
        let many = |count: usize| stage("boot", (0..count).map(|at| module(&format!("a{at}.ko"), b"x")).collect());
        assert!(matches!(build(b"x", &[many(1000)], &none), Err(InitramfsError::TooManyModules { count: 1000 })));
        assert!(build(b"x", &[many(999)], &none).is_ok());
    }
}
