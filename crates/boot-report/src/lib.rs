//! The report that the agent leaves in memory for the system that it starts: where it lies, how it is read, and what it says in one
//! sentence. Must not judge it: whoever has root on the machine can write another one.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use cloud_machine_protocol::{FORMAT_VERSION, MAX_REPORT, safe_json};
use serde_json::{Value, json};

/// The folder in which the report lies.
pub const FOLDER: &str = "/run/cloud-machine";
/// Where the agent leaves the report.
pub const PATH: &str = "/run/cloud-machine/report.json";
/// Most bytes that are read: the agent indents the report, which makes the longest one several times as long.
const MAX_BYTES: u64 = 8 * MAX_REPORT as u64;
/// `kind` of [`BootReport::document`].
const KIND: &str = "status";
/// `version` of [`BootReport::document`].
const VERSION: u32 = 1;

/// Why there is no report. Absent, unreadable and invalid are different.
#[derive(Debug, thiserror::Error)]
pub enum BootReportError {
    /// There is no file, which is how a boot without the agent looks.
    #[error("there is no {path}: the agent did not run when this machine started")]
    Absent {
        /// Where it should lie.
        path: String,
    },
    /// What it says is not known.
    #[error("cannot read {path}")]
    Unreadable {
        /// Where it lies.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is something else than a report.
    #[error("{path} is no report of this version of the agent: {reason}")]
    Invalid {
        /// Where it lies.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A report as it lies there, without its types: they would be a hundredth of the agent.
#[derive(Debug)]
pub struct BootReport(Value);

impl BootReport {
    /// Reads the report at `path`, which is [`PATH`] but for tests.
    ///
    /// # Errors
    /// [`BootReportError`], with one variant for each of absent, unreadable and invalid.
    pub fn read(path: &Path) -> Result<Self, BootReportError> {
        let name = || path.display().to_string();
        let invalid = |reason| BootReportError::Invalid { path: name(), reason };
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => BootReportError::Absent { path: name() },
            _ => BootReportError::Unreadable { path: name(), source },
        };
        // To read a pipe would wait for somebody who writes to it.
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(invalid("it is no plain file".to_owned()));
        }
        if metadata.len() > MAX_BYTES {
            return Err(invalid(format!("it has more than {MAX_BYTES} bytes")));
        }
        Self::parse(&fs::read(path).map_err(failed)?).map_err(invalid)
    }

    /// The report in `bytes`; the error says in a fragment what is wrong with them.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let report: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if report["version"] != json!(FORMAT_VERSION) {
            return Err(format!("its format version is {}, and this agent writes {FORMAT_VERSION}", report["version"]));
        }
        Ok(Self(report))
    }

    /// The report itself.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Whether the agent ended well.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0["result"]["kind"] == "done"
    }

    /// What the agent did, in one sentence. It holds words of devices and documents: `escaped` makes them fit for a terminal.
    #[must_use]
    pub fn summary(&self) -> String {
        let result = &self.0["result"];
        match (self.done(), self.0["config"].is_null()) {
            (true, true) => {
                return "The agent found nothing that counts as a configuration, and changed nothing.".into();
            }
            (true, false) => return "The agent made the disks as they are described.".into(),
            (false, _) => {}
        }
        let step = result["step"].as_str().map_or_else(String::new, |step| format!(" in step {step}"));
        let causes: Vec<&str> = result["causes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("The agent failed{step}: {}", causes.join(": "))
    }

    /// One JSON object of printable ASCII: `kind` is `status`, `version` is 1 and `value` is the report. It ends with a line feed.
    ///
    /// # Errors
    /// The encoder's error.
    pub fn document(&self) -> Result<String, serde_json::Error> {
        safe_json(&json!({"kind": KIND, "version": VERSION, "value": self.0}))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::unix::{fs::symlink, net::UnixListener},
        path::PathBuf,
    };

    use super::*;

    fn in_folder(write: impl FnOnce(&Path)) -> Result<BootReport, BootReportError> {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("report.json");
        write(&path);
        BootReport::read(&path)
    }

    fn written(text: &str) -> Result<BootReport, BootReportError> {
        in_folder(|path| fs::write(path, text).unwrap())
    }

    #[test]
    fn absent_unreadable_and_invalid_are_different() {
        assert!(matches!(in_folder(|_| ()), Err(BootReportError::Absent { .. })));
        let circle = in_folder(|path| symlink(path, path).unwrap());
        assert!(matches!(circle, Err(BootReportError::Unreadable { .. })), "{circle:?}");
        let not_a_file: [fn(&Path); 2] =
            [|path| fs::create_dir(path).unwrap(), |path| drop(UnixListener::bind(path).unwrap())];
        for make in not_a_file {
            let error = in_folder(make).unwrap_err().to_string();
            assert!(error.ends_with("is no report of this version of the agent: it is no plain file"), "{error}");
        }
        for (text, reason) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{}", "its format version is null, and this agent writes 3"),
            ("[3]", "its format version is null, and this agent writes 3"),
            (r#"{"version": 2}"#, "its format version is 2, and this agent writes 3"),
        ] {
            let error = written(text).unwrap_err();
            assert!(matches!(&error, BootReportError::Invalid { reason: found, .. } if found == reason), "{error}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let error = in_folder(|path| File::create(path).unwrap().set_len(MAX_BYTES + 1).unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("it has more than 8388608 bytes"), "{error}");
        // At the limit it is read, and it is its content that is wrong.
        let error = in_folder(|path| File::create(path).unwrap().set_len(MAX_BYTES).unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("expected value at line 1 column 1"), "{error}");
    }

    #[test]
    fn the_sentence_says_what_became_of_it() {
        for (rest, done, expected) in [
            (r#""result": {"kind": "done"}, "config": {}"#, true, "The agent made the disks as they are described."),
            (
                r#""result": {"kind": "done"}"#,
                true,
                "The agent found nothing that counts as a configuration, and changed nothing.",
            ),
            (
                r#""result": {"kind": "failed", "step": "wipe-a", "causes": ["x", "y"]}, "config": {}"#,
                false,
                "The agent failed in step wipe-a: x: y",
            ),
            (r#""result": {"kind": "failed", "causes": ["x"]}"#, false, "The agent failed: x"),
            (r#""result": 5"#, false, "The agent failed: "),
        ] {
            let report = written(&format!(r#"{{"version": 3, {rest}}}"#)).unwrap();
            assert_eq!((report.done(), report.summary().as_str()), (done, expected));
        }
    }

    #[test]
    fn the_document_has_the_report_and_nothing_that_a_terminal_obeys() {
        let report = written(r#"{"version": 3, "result": "\u001b[2J ö"}"#).unwrap();
        let text = report.document().unwrap();
        assert!(text.is_ascii() && !text.contains('\x1b') && text.ends_with("}\n"), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document, json!({"kind": "status", "version": 1, "value": report.value()}));
    }
}
