//! Configuration, as the program takes it: layers and their order, origins, verdicts, redaction, exit codes, and the
//! generated pages. Needs no machine; mounts are made in a namespace of the test's own.

mod audit;
mod check_cloud_init;
mod hostile;
mod layers;
mod printed;

use std::{fs, path::PathBuf, process::Command};

use cloud_machine_tests::{
    artifacts::Artifacts,
    program::{Called, Program},
};
use cloud_machine_volume::write as volume;
use serde_json::Value;

/// A folder with a home, a project and the program, away from any configuration of the host's user.
struct Workspace {
    program: Program,
    folder: PathBuf,
}

impl Workspace {
    fn new() -> Self {
        let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
        let folder = program.command().get_current_dir().unwrap().to_owned();
        // The folder is the root of a repository: nothing above it is the test's business.
        for name in [".git", "project", "home"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        Self { program, folder }
    }

    /// Writes a file and says its path.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Writes a document of ours.
    fn document(&self, name: &str, ours: &str) -> String {
        self.write(name, format!("cloud-machine: {{{ours}}}\n"))
    }

    fn command(&self) -> Command {
        let mut command = self.program.command();
        command.current_dir(self.folder.join("project"));
        command.env("HOME", self.folder.join("home")).env_remove("XDG_CONFIG_HOME");
        command
    }

    fn call(&self, arguments: &[&str]) -> Called {
        called(self.command().args(arguments))
    }

    fn refused(&self, arguments: &[&str], code: i32, texts: &[&str]) -> Called {
        let called = self.call(arguments);
        assert_eq!(called.code, code, "{arguments:?}\n{}\n{}", called.output, called.errors);
        for text in texts {
            assert!(called.errors.contains(text), "{arguments:?}: expected {text:?} in\n{}", called.errors);
        }
        called
    }

    /// Values and origins by key.
    fn audit(&self, arguments: &[&str]) -> Audit {
        Audit::of(self.call(&[&["config", "audit", "--output", "json"], arguments].concat()))
    }

    /// Builds a volume with a document of ours.
    fn volume(&self, name: &str, ours: &str) -> String {
        let text = format!("#cloud-init\ncloud-machine: {{{ours}}}\n");
        self.write(name, volume::build(&[("user-data", text.as_bytes())]).unwrap())
    }
}

fn called(command: &mut Command) -> Called {
    let output = command.output().expect("the program starts");
    Called {
        code: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

struct Audit(Value);

impl Audit {
    fn of(called: Called) -> Self {
        assert_eq!(called.code, 0, "{}\n{}", called.output, called.errors);
        let document: Value = serde_json::from_str(&called.output).unwrap();
        assert_eq!((&document["kind"], &document["version"]), (&"config-audit".into(), &1.into()));
        Self(document["value"].clone())
    }

    fn row(&self, key: &str) -> &Value {
        let rows = self.0["values"].as_array().unwrap();
        rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    fn cpus(&self) -> (i64, String) {
        let row = self.row("cloud-machine.resources.cpus");
        (row["value"].as_i64().unwrap(), row["origin"]["text"].as_str().unwrap().to_owned())
    }
}

/// Runs a shell as root of a mount namespace of its own, below which `/etc` is a tree of the test's own.
fn namespace(command: Command, prepare: &str) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(["--map-root-user", "--mount", "sh", "-euc", &format!("{prepare}\nexec \"$@\""), "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.current_dir(command.get_current_dir().unwrap());
    outer
}
