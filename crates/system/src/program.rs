//! Running a program of the initramfs, for everything that Rust has no good library for. Must not find a
//! program by a search path, and must not let one outlive its time.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::escaped;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::SystemError;

/// Programs that look for others find only those of the initramfs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of what a program says on its standard error.
const MAX_SAID: u64 = 4096;
/// How often it is looked whether a program has ended: its parent is no event loop.
const POLL: Duration = Duration::from_millis(20);

/// A call of a program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program at an absolute path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arguments: Vec::new() }
    }

    /// With more arguments.
    #[must_use]
    pub fn arguments<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it to its end and gives what it printed. It has no input and no environment but a path and the locale C.
    ///
    /// # Errors
    /// [`SystemError::ProgramAbsent`], [`SystemError::ProgramFailed`], [`SystemError::ProgramSlow`] after `limit`, when
    /// it and all that it started has been ended; [`SystemError::Io`] when it cannot be started.
    pub fn run(self, limit: Duration) -> Result<Vec<u8>, SystemError> {
        let name = self.path.display().to_string();
        let io = |verb| SystemError::io(verb, &name);
        // Files, which no program can fill until it has to wait for its reader.
        let (mut output, mut stderr) =
            (temporary().map_err(io("keep the output of"))?, temporary().map_err(io("keep the output of"))?);
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C")])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(io("keep the output of"))?)
            .stderr(stderr.try_clone().map_err(io("keep the output of"))?);
        let mut child = match command.spawn() {
            Ok(child) => child,
            // Absent is the program; when it is there, its loader or a library of it is what is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.exists() => {
                return Err(SystemError::ProgramAbsent { program: name });
            }
            Err(error) => return Err(io("start")(error)),
        };
        let Some(status) = wait(&mut child, limit).map_err(io("wait for"))? else {
            return Err(SystemError::ProgramSlow { program: name, seconds: limit.as_secs() });
        };
        if !status.success() {
            let stderr = tail(&mut stderr).map_err(io("read what was said by"))?;
            return Err(self.failed(name, status, &stderr));
        }
        let mut bytes = Vec::new();
        output.rewind().and_then(|()| output.read_to_end(&mut bytes)).map_err(io("read the output of"))?;
        Ok(bytes)
    }

    fn failed(&self, program: String, status: ExitStatus, stderr: &[u8]) -> SystemError {
        let text = String::from_utf8_lossy(stderr);
        let lines: Vec<String> = text.lines().map(|line| escaped(line.trim())).collect();
        SystemError::ProgramFailed {
            program,
            arguments: self.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            status,
            stderr: lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; "),
        }
    }
}

/// `None` when the time was over; then the whole process group is gone.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let group = i32::try_from(child.id()).map_err(io::Error::other)?;
            killpg(Pid::from_raw(group), Signal::SIGKILL)?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// The end of a file.
fn tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_SAID)))?;
    let mut bytes = Vec::new();
    file.take(MAX_SAID).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file in memory without a name.
fn temporary() -> io::Result<File> {
    let file = nix::sys::memfd::memfd_create(c"output", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").arguments(["-c", script])
    }

    #[test]
    fn a_program_gets_its_arguments_and_nothing_else() {
        let output = shell("echo \"$0 $HOME $LC_ALL\"; cat").arguments(["zero"]).run(LIMIT);
        assert_eq!(String::from_utf8(output.unwrap()).unwrap(), "zero  C\n");
    }

    #[test]
    fn an_absent_program_says_where_it_would_come_from() {
        let error = Program::new("/usr/sbin/mkfs.nothing").run(LIMIT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no /usr/sbin/mkfs.nothing in the initramfs: `image pack --programs` brings programs"
        );
    }

    #[test]
    fn a_failure_says_program_arguments_status_and_the_end_of_what_was_said() {
        let error = shell("head -c 9000 /dev/zero | tr '\\0' x >&2; printf 'a\\033[2J\\n\\nlast\\n' >&2; exit 3");
        let error = error.run(LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("/bin/sh -c head"), "{error}");
        assert!(error.contains("ended with exit status: 3: xxx") && error.ends_with("xa\\u{1b}[2J; last"), "{error}");
        assert!(error.len() < 5000, "{}", error.len());
        let error = shell("kill -9 $$").run(LIMIT).unwrap_err().to_string();
        assert!(error.contains("signal: 9"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let marker = tempfile::tempdir().unwrap();
        let file = marker.path().join("late");
        let began = Instant::now();
        let script = format!("(sleep 2; touch {}) & sleep 60", file.display());
        let error = shell(&script).run(Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh did not end within 0 s");
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_secs(3));
        assert!(!file.exists(), "its child went on");
    }
}
