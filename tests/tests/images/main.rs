//! Images, given to the program: every form of input, generations, signatures, what standard tools say of the
//! result, and the guide. Needs no machine; mounts are made in a namespace of the test's own.

mod bake;
mod deleting;
mod generations;
mod guide;
mod inputs;
mod lies;
mod modules;
mod own_kernel;
mod programs;
mod recovery_boot;
mod signatures;
mod uki;
mod uki_boot;

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use cloud_machine_tests::{
    artifacts::Artifacts,
    program::{Called, Program},
};

/// A folder with a disk image, a kernel, its modules and the program.
struct Workspace {
    program: Program,
    folder: PathBuf,
}

impl Workspace {
    fn new() -> Self {
        let artifacts = Artifacts::from_environment().unwrap();
        let program = Program::new(&artifacts);
        let folder = program.command().get_current_dir().unwrap().to_owned();
        // Nothing above this folder is the test's business.
        fs::create_dir(folder.join(".git")).unwrap();
        for (name, link) in [("kernel", "vmlinuz"), ("modules", "modules"), ("programs", "programs")] {
            std::os::unix::fs::symlink(artifacts.image.join(name), folder.join(link)).unwrap();
        }
        std::os::unix::fs::symlink(&artifacts.program, folder.join("cloud-machine")).unwrap();
        let workspace = Self { program, folder };
        workspace.disk("disk.raw", 1);
        workspace
    }

    /// Writes a disk image of 4 MiB, the same each time: a table, what a packer takes for ext4, and a MiB of bytes that
    /// do not compress.
    fn disk(&self, name: &str, seed: u64) {
        let file = fs::File::create(self.folder.join(name)).unwrap();
        file.set_len(4 << 20).unwrap();
        let table = "label: gpt\nlabel-id: 7F0B7D6E-58C1-4B8E-9A6E-0C2F8F3AD111\nstart=2048, size=4096, \
            type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=7F0B7D6E-58C1-4B8E-9A6E-0C2F8F3AD112, name=root\n";
        fs::write(self.folder.join("table"), table).unwrap();
        self.shell(&format!("sfdisk -q {name} < table; rm table"));
        let mut state = seed;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(1 << 20)
        .collect();
        file.write_all_at(&noise, (1 << 20) + 65_536).unwrap();
        file.write_all_at(&[0x53, 0xef], (1 << 20) + 1080).unwrap();
    }

    /// The disk of the golden image.
    fn golden(&self) -> String {
        Artifacts::from_environment().unwrap().image.join("disk.raw").display().to_string()
    }

    /// A shell in the folder, with the program in its path.
    fn script(&self, script: &str) -> Command {
        let given = self.program.command();
        let mut shell = Command::new("sh");
        for (name, value) in given.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let path = format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap());
        shell.env("PATH", path).args(["-ec", script]).current_dir(&self.folder);
        shell
    }

    fn call(&self, script: &str) -> Called {
        let output = self.script(script).stdin(std::process::Stdio::null()).output().unwrap();
        Called {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What a script prints that must succeed.
    fn shell(&self, script: &str) -> String {
        let called = self.call(script);
        assert_eq!(called.code, 0, "{script}\n{}\n{}", called.output, called.errors);
        called.output
    }

    /// Calls the program through a shell and expects an exit code and texts on standard error.
    fn refused(&self, script: &str, code: i32, texts: &[&str]) {
        let called = self.call(script);
        assert_eq!(called.code, code, "{script}\n{}\n{}", called.output, called.errors);
        for text in texts {
            assert!(called.errors.contains(text), "{script}: expected {text:?} in\n{}", called.errors);
        }
    }

    fn packed(&self, image: &str) -> PathBuf {
        self.program.state().join("images").join(image).join("image.zst")
    }

    fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.folder.join(path).exists()
    }

    /// Names of all in the state folder and of all images, hidden ones too.
    fn state(&self) -> Vec<String> {
        let list = |folder: PathBuf| match fs::read_dir(folder) {
            Ok(entries) => entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
            Err(_) => Vec::new(),
        };
        let mut names: Vec<String> = list(self.program.state().to_owned());
        names.extend(list(self.program.state().join("images")).into_iter().map(|name| format!("images/{name}")));
        names.sort();
        names
    }
}

/// `image pack` of `demo`; the input and more options follow.
const PACK: &str = "cloud-machine image pack demo --kernel vmlinuz --modules modules --quiet --input";
/// All that a state folder has without any image or machine.
const BARE: [&str; 5] = ["generations", "images", "locks", "machines", "reserve"];
