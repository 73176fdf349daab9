//! Waiting for a machine's cloud-init, which makes of the system what a configuration says beside our own keys. What a
//! machine says here is about its own documents, and must not be taken for evidence.

use std::time::{Duration, Instant};

use cloud_machine_child::Output;
use cloud_machine_config::Awaited;
use cloud_machine_protocol::{MachineName, escape};
use cloud_machine_store::{MachineRecord, Store};

use crate::{
    access,
    error::{ErrorKind, OperationError},
    event::{Notice, Task},
    hint::Hint,
    teller::Teller,
};

/// What a machine is asked once its SSH answers: it says whether it has cloud-init, and succeeds in any case.
pub(crate) const LOOK: [&str; 3] = ["sh", "-c", "test ! -x /usr/bin/cloud-init || echo cloud-init"];
const HAS: &[u8] = b"cloud-init\n";
/// Waits, and tells of what did not end well what is known: cloud-init's own words, the lines of its log that tell which module it was,
/// and the last that programs said, among which it writes its log and tracebacks of Python. Its argument is the folder of both logs. The
/// exit code is that of `cloud-init status`.
const WAIT: &str = r"
cloud-init status --wait >/dev/null 2>&1; code=$?
[ $code -eq 0 ] && exit 0
cloud-init status --long | grep -v -e '^status: ' -e '^boot_status_code: ' -e '^last_update: '
grep -h -e ' - .*\[WARNING\]' -e ' - .*\[ERROR\]' -e '^[A-Za-z.]*Error: ' $1/cloud-init.log | tail -n 6
grep -v -e ' - .*\[[A-Z]*\]: ' -e '^Traceback ' -e '^  ' -e '^[A-Za-z.]*Error: ' $1/cloud-init-output.log | tail -n 4
exit $code";
const LOGS: &str = "/var/log";
/// Lines that are told.
const LINES: usize = 16;
/// What cloud-init 23.4 and newer exits with when it is done and complains of something.
const COMPLAINS: i32 = 2;
/// What ssh(1) exits with when it has no answer.
const NO_ANSWER: i32 = 255;

/// Whether the host waits for the machine's cloud-init. `looked` is the machine's answer to [`LOOK`].
///
/// # Errors
/// Of [`ErrorKind::Refused`] when the configuration waits for it and the system has none.
pub(crate) fn is_awaited(name: &MachineName, awaited: Option<Awaited>, looked: &[u8]) -> Result<bool, OperationError> {
    match (awaited, looked.ends_with(HAS)) {
        (Some(Awaited::Ssh), _) | (None, false) => Ok(false),
        (Some(Awaited::CloudInit) | None, true) => Ok(true),
        (Some(Awaited::CloudInit), false) => {
            let text = format!("machine {name} has no cloud-init, and `wait-for` names it");
            Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::WaitForSsh))
        }
    }
}

/// Waits until the cloud-init of the machine is done.
///
/// # Errors
/// Of [`ErrorKind::Failed`] when it did not end well or the machine no longer answers, of [`ErrorKind::TimedOut`] when it
/// is not done at the deadline.
pub(crate) fn wait(
    store: &Store,
    record: &MachineRecord,
    teller: Teller<'_>,
    deadline: Instant,
) -> Result<(), OperationError> {
    let waiting = teller.begin(Task::CloudInit);
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let output = access::ask(store, record, &["sh", "-c", WAIT, "sh", LOGS], left);
    drop(waiting);
    let name = &record.name;
    let output = output.map_err(|cause| {
        let kind = cause.kind;
        OperationError::during(kind, format!("wait for cloud-init in machine {name}"))(cause).hint(Hint::WaitForSsh)
    })?;
    if let Some(complaint) = judge(name, &output)? {
        teller.notice(complaint);
    }
    Ok(())
}

/// What the end of cloud-init means for the machine `name`: nothing to tell, something to tell, or a failure.
fn judge(name: &MachineName, output: &Output) -> Result<Option<Notice>, OperationError> {
    let told = || escape::tail(&[output.stdout.as_slice(), output.stderr.as_slice()].concat(), LINES);
    match output.status.code() {
        Some(0) => Ok(None),
        Some(COMPLAINS) => Ok(Some(Notice::CloudInitComplains(name.clone(), told()))),
        Some(NO_ANSWER) | None => {
            let text = format!("machine {name} no longer answered while its cloud-init worked:\n{}", told());
            Err(OperationError::failed(text))
        }
        Some(_) => {
            let text = format!("cloud-init in machine {name} did not end well:\n{}", told());
            Err(OperationError::failed(text).hint(Hint::WaitForSsh))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::PermissionsExt, process::ExitStatusExt},
        process::{Command, ExitStatus},
    };

    use super::*;

    fn name() -> MachineName {
        "demo".parse().unwrap()
    }

    #[test]
    fn cloud_init_is_awaited_where_the_system_has_it_unless_the_configuration_says_otherwise() {
        let awaited = |asked, answer: &[u8]| is_awaited(&name(), asked, answer).map_err(|failure| failure.kind);
        // What a login prints before the answer is no answer.
        assert_eq!(awaited(None, b"welcome\ncloud-init\n"), Ok(true));
        assert_eq!(awaited(None, b"cloud-init\nwelcome\n"), Ok(false));
        assert_eq!(awaited(None, b""), Ok(false));
        for answer in [&b"cloud-init\n"[..], b""] {
            assert_eq!(awaited(Some(Awaited::Ssh), answer), Ok(false));
        }
        assert_eq!(awaited(Some(Awaited::CloudInit), b"cloud-init\n"), Ok(true));
        assert_eq!(awaited(Some(Awaited::CloudInit), b""), Err(ErrorKind::Refused));
    }

    /// What the script says where cloud-init ends with `code`, prints `status`, and has written these logs.
    fn asked(code: i32, status: &str, log: &str, output: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("status"), status).unwrap();
        fs::write(path("cloud-init.log"), log).unwrap();
        fs::write(path("cloud-init-output.log"), output).unwrap();
        let program = format!("#!/bin/sh\n[ \"$2\" = --wait ] || cat '{}'\nexit {code}\n", path("status").display());
        fs::write(path("cloud-init"), program).unwrap();
        fs::set_permissions(path("cloud-init"), fs::Permissions::from_mode(0o755)).unwrap();
        let search = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WAIT, "sh"]).arg(folder.path()).env("PATH", search);
        let told = command.output().unwrap();
        assert!(told.stderr.is_empty(), "{}", String::from_utf8_lossy(&told.stderr));
        (told.status.code(), String::from_utf8(told.stdout).unwrap())
    }

    #[test]
    fn what_a_program_said_is_told_though_cloud_init_writes_its_log_and_tracebacks_around_it() {
        let status = "status: error\nboot_status_code: enabled-by-generator\nlast_update: Thu, 01 Jan 1970\n\
            detail:\n('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))\n";
        let log = "2026-01-01 10:00:00,000 - util.py[DEBUG]: Running command\n\
            2026-01-01 10:00:01,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user\n\
            Traceback (most recent call last):\n  File \"util.py\", line 1, in runparts\nRuntimeError: Runparts: 1 failures\n";
        let traceback =
            "Traceback (most recent call last):\n  File \"a.py\", line 1\n    raise it\nRuntimeError: Runparts\n";
        let output = format!(
            "Cloud-init v. 22.4.2 running 'modules:final'\nthe disk is full\n\
             2026-01-01 10:00:01,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user\n{}\
             Cloud-init v. 22.4.2 finished\n",
            traceback.repeat(4)
        );
        let (code, told) = asked(1, status, log, &output);
        let expected = [
            "detail:",
            "('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))",
            "2026-01-01 10:00:01,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user",
            "RuntimeError: Runparts: 1 failures",
            "Cloud-init v. 22.4.2 running 'modules:final'",
            "the disk is full",
            "Cloud-init v. 22.4.2 finished",
        ];
        assert_eq!((code, told.lines().collect::<Vec<_>>()), (Some(1), expected.to_vec()));
    }

    #[test]
    fn a_good_end_says_nothing_and_every_other_code_is_handed_on() {
        assert_eq!(asked(0, "status: done\n", "", "a line\n"), (Some(0), String::new()));
        for code in [1, 2] {
            assert_eq!(asked(code, "detail: x\n", "", ""), (Some(code), "detail: x\n".to_owned()));
        }
    }

    /// How the script ended: an exit code in the upper byte of what wait(2) gives, or a signal.
    fn ended(status: i32, stdout: &str) -> Result<Option<Notice>, OperationError> {
        let output =
            Output { status: ExitStatus::from_raw(status), stdout: stdout.as_bytes().to_vec(), stderr: Vec::new() };
        judge(&name(), &output)
    }

    #[test]
    fn only_a_good_end_is_one_and_what_is_told_is_safe_to_show() {
        assert!(ended(0, "").unwrap().is_none());
        let complaint = ended(2 << 8, "a deprecated key").unwrap().unwrap().to_string();
        assert!(complaint.ends_with("complains:\na deprecated key"), "{complaint}");
        for code in [1, 3, 127] {
            let failure = ended(code << 8, "runcmd failed\n\x1b[2Jgone").unwrap_err();
            assert_eq!((failure.kind, failure.hints.as_slice()), (ErrorKind::Failed, &[Hint::WaitForSsh][..]));
            let text = failure.line();
            assert!(text.contains("runcmd failed") && !text.contains('\x1b'), "{text}");
        }
        // A system that has gone down said nothing of its cloud-init.
        for status in [255 << 8, 9] {
            let failure = ended(status, "").unwrap_err();
            assert!(failure.hints.is_empty() && failure.line().contains("no longer answered"), "{}", failure.line());
        }
    }
}
