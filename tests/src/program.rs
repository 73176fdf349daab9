//! The program as users call it, with a state folder of its own. Ends the machines that it started when dropped,
//! also after a failed test.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use cloud_machine_protocol::Method;
use serde_json::Value;

use crate::artifacts::Artifacts;

/// A state folder and the program on it.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    agent: PathBuf,
    state: PathBuf,
    /// What else it finds in its environment.
    environment: Vec<(&'static str, String)>,
    _folder: Option<tempfile::TempDir>,
}

/// What a call gave.
#[derive(Debug)]
pub struct Called {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Program {
    /// With a new folder, removed at the end.
    ///
    /// # Panics
    /// When no folder can be made.
    #[must_use]
    pub fn new(artifacts: &Artifacts) -> Self {
        let folder = tempfile::Builder::new().prefix("cloud-machine-test-").tempdir().expect("a temporary folder");
        let state = folder.path().join("state");
        Self {
            path: artifacts.program.clone(),
            agent: artifacts.agent.clone(),
            state,
            environment: Vec::new(),
            _folder: Some(folder),
        }
    }

    /// With a folder that stays.
    #[must_use]
    pub fn at(artifacts: &Artifacts, state: PathBuf) -> Self {
        Self {
            path: artifacts.program.clone(),
            agent: artifacts.agent.clone(),
            state,
            environment: Vec::new(),
            _folder: None,
        }
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The program, ready for arguments.
    ///
    /// # Panics
    /// When the folder of the state cannot be made.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("CLOUD_MACHINE_STATE", &self.state).env("CLOUD_MACHINE_AGENT", &self.agent);
        let folder = self.state.parent().unwrap_or(Path::new("/"));
        // Away from the checkout, whose own configuration is none of a test's business.
        std::fs::create_dir_all(folder).expect("the folder of the state");
        command.current_dir(folder);
        // Nor is the configuration of whoever runs the tests.
        command.env("HOME", folder).env_remove("XDG_CONFIG_HOME");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CLOUD_MACHINE__") {
                command.env_remove(name);
            }
        }
        // Nor is their libvirt.
        command
            .env_remove("CLOUD_MACHINE_LIBVIRT_URI")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Calls it with `input` on standard input.
    ///
    /// # Panics
    /// When the program cannot be started at all.
    pub fn call<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>, input: &[u8]) -> Called {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let input = input.to_owned();
        // A program that ends early closes the pipe: its exit code tells more than the write error.
        let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
        writer.join().expect("the writer ends");
        Called {
            code: status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&stdout).into_owned(),
            errors: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// The program with a terminal, whose keys are what is written to the child and whose screen is its output. `line` is a
    /// shell's.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn on_a_terminal(&self, line: &str) -> Child {
        let told = self.command();
        let line = format!("{} {line}", told.get_program().to_string_lossy());
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        script.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script starts (package bsdutils)")
    }

    /// The output of a call that has to succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn done(&self, arguments: &[&str]) -> String {
        let called = self.call(arguments, b"");
        assert_eq!(called.code, 0, "{arguments:?}: {}", called.errors);
        called.output
    }

    /// Calls it with `--output json` and gives the value.
    ///
    /// # Errors
    /// A text with code, output and errors, when it did not succeed or printed no JSON.
    pub fn json<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Value, String> {
        let called = self
            .call(arguments.into_iter().map(|a| a.as_ref().to_owned()).chain(["--output".into(), "json".into()]), b"");
        if called.code != 0 {
            return Err(format!("exit code {}\n{}\n{}", called.code, called.output, called.errors));
        }
        let document: Value =
            serde_json::from_str(&called.output).map_err(|error| format!("{error}: {}", called.output))?;
        Ok(document.get("value").cloned().unwrap_or_default())
    }

    /// Packs the golden image as `name`, with its programs if it has any.
    ///
    /// # Errors
    /// A text with what the program said.
    pub fn pack(&self, artifacts: &Artifacts, name: &str) -> Result<Value, String> {
        self.pack_folder(&artifacts.image, name, &[])
    }

    /// Packs the golden image in `folder` as `name`, with its programs if it has any and with more kernel modules.
    ///
    /// # Errors
    /// A text with what the program said.
    pub fn pack_folder(&self, folder: &Path, name: &str, kernel_modules: &[&str]) -> Result<Value, String> {
        let file = |name: &str| folder.join(name).into_os_string();
        let mut arguments: Vec<OsString> = vec![
            "image".into(),
            "pack".into(),
            name.into(),
            // What the recipe made before may be in a state folder that stays.
            "--replace".into(),
            "--raw".into(),
            file("disk.raw"),
            "--kernel".into(),
            file("kernel"),
            "--modules".into(),
            file("modules"),
        ];
        if folder.join("programs").is_dir() {
            arguments.extend(["--programs".into(), file("programs")]);
        }
        arguments.extend(kernel_modules.iter().flat_map(|module| ["--kernel-module".into(), module.into()]));
        self.json(arguments)
    }
}

/// What the report of a result says that was done with a disk.
///
/// # Panics
/// When the result names no report, or the report no such disk.
#[must_use]
pub fn method(result: &str, disk: &str) -> String {
    let result: Value = serde_json::from_str(result).expect("JSON");
    let result = result["value"].get("machines").map_or(&result["value"], |machines| &machines[0]["result"]);
    let path = result["report"].as_str().unwrap_or_else(|| panic!("no report: {result}"));
    let evidence: Value = serde_json::from_slice(&std::fs::read(path).expect("the report")).expect("JSON");
    let devices = evidence["report"]["devices"].as_array().expect("devices").clone();
    let device = devices.iter().find(|device| device["role"]["name"] == disk).expect("the disk");
    serde_json::from_value::<Method>(device["method"].clone()).expect("its method").to_string()
}

impl Drop for Program {
    fn drop(&mut self) {
        if self._folder.is_none() {
            return;
        }
        let Ok(machines) = std::fs::read_dir(self.state.join("machines")) else { return };
        for machine in machines.flatten() {
            let name = machine.file_name();
            let called = self.call([OsStr::new("delete"), &name, OsStr::new("--yes")], b"");
            if called.code != 0 && !std::thread::panicking() {
                panic!("cannot delete machine {}: {}", name.to_string_lossy(), called.errors);
            }
        }
    }
}
