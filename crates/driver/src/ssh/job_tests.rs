use std::{fs::File, io::Read, os::fd::AsFd, path::PathBuf};

use super::*;

/// A stand-in for `ssh` that runs the last of its arguments here, as a login shell does there. What goes over a real
/// connection is tried with the program.
fn stand_in(before: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} for last; do :; done; exec sh -c \"$last\""), "ssh"]);
    command
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

struct Case {
    ssh: Command,
    words: Vec<String>,
    start: Duration,
    limit: Option<Duration>,
    input: PathBuf,
}

impl Case {
    fn new(program: &[&str]) -> Self {
        let start = Duration::from_secs(60);
        Self { ssh: stand_in(""), words: words(program), start, limit: None, input: "/dev/null".into() }
    }

    fn follow(self) -> Followed {
        let input = File::open(&self.input).unwrap();
        let job = Job {
            ssh: self.ssh,
            words: &self.words,
            start: self.start,
            limit: self.limit,
            input: input.as_fd(),
            output: Sink::Memory(1 << 10),
            errors: Sink::Memory(1 << 10),
        };
        job.follow().unwrap()
    }
}

fn shell(script: &str) -> Case {
    Case::new(&["sh", "-c", script])
}

#[test]
fn every_exit_code_is_passed_and_a_signal_is_128_more() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        let followed = shell(script).follow();
        assert_eq!(followed.end, JobEnd::Exited(code), "{script}");
        assert!(followed.is_complete);
    }
    assert_eq!(Case::new(&["/nonexistent"]).follow().end, JobEnd::Exited(127));
    assert_eq!(Case::new(&["exit", "3"]).follow().end, JobEnd::Exited(3), "a word of the shell itself");
}

#[test]
fn words_input_and_both_outputs_arrive_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, "first\nsecond").unwrap();
    let mut case = Case::new(&["sh", "-c", "cat; printf %s \"$1\" >&2", "x", "a 'b' \"$c\"\n*"]);
    case.input = input;
    let followed = case.follow();
    assert_eq!(followed.end, JobEnd::Exited(0));
    assert_eq!(String::from_utf8(followed.output).unwrap(), "first\nsecond");
    assert_eq!(String::from_utf8(followed.errors).unwrap(), "a 'b' \"$c\"\n*");
}

#[test]
fn memory_takes_the_first_bytes_and_says_that_there_were_more() {
    let followed = shell("head -c 3M /dev/zero; echo x >&2").follow();
    assert_eq!((followed.end, followed.output.len(), followed.is_complete), (JobEnd::Exited(0), 1 << 10, false));
}

#[test]
fn a_process_that_is_left_behind_does_not_hold_the_caller() {
    for script in
        ["echo done; sleep 1000 & exit 4", "sleep 1000 2>&1 & echo done; exit 4", "echo done; yes >&2 & exit 4"]
    {
        let followed = shell(script).follow();
        assert_eq!(followed.end, JobEnd::Exited(4), "{script}");
        assert!(followed.output.starts_with(b"done\n"), "{script}");
        assert!(!followed.is_complete, "{script}");
    }
}

#[test]
fn the_time_is_over_whether_the_program_is_silent_or_loud() {
    for script in ["exec sleep 1000", "exec yes", "exec yes >&2"] {
        let mut case = shell(script);
        case.limit = Some(Duration::from_secs(2));
        assert_eq!(case.follow().end, JobEnd::TimedOut, "{script}");
    }
}

/// Nothing of the program is done: the machine never learns that it may begin.
#[test]
fn a_machine_that_runs_something_else_is_neither_waited_for_nor_listened_to() {
    let not_begun = |ssh: &str, start| {
        let mut case = shell("echo never");
        (case.ssh, case.start) = (shell_command(ssh), start);
        let followed = case.follow();
        assert!(followed.output.is_empty() && followed.errors.is_empty(), "{ssh}");
        match followed.end {
            JobEnd::NotBegun(reason) => reason,
            other => panic!("{ssh}: {other:?}"),
        }
    };
    let (soon, late) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(not_begun("exec sleep 1000", soon), NotBegun::TimedOut);
    assert_eq!(not_begun("exec yes", late), NotBegun::Flood);
    assert_eq!(not_begun("exec head -c 400M /dev/zero", late), NotBegun::Flood);
    assert_eq!(not_begun("exec yes >&2", late), NotBegun::Flood);
    assert_eq!(not_begun("printf 'no\\033[2J' >&2; exit 255", late), NotBegun::Ssh("no\\u{1b}[2J".to_owned()));
    assert_eq!(not_begun("echo hello; exit 0", late), NotBegun::Foreign(String::new()));
}

fn shell_command(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_connection_that_ends_first_is_told_from_a_program_that_ends() {
    // The whole group of the stand-in.
    match shell("echo working >&2; kill -9 0").follow().end {
        JobEnd::Lost(stderr) => assert_eq!(stderr, "working"),
        other => panic!("{other:?}"),
    }
}

/// It may say so of itself, and of nothing else.
#[test]
fn a_program_that_lies_about_its_end_is_believed_and_ended() {
    let lie =
        "n=$(tr '\\0' '\\n' < /proc/$PPID/cmdline | sed -n 5p); printf '\\n%s ended 42\\n' \"$n\" >&2; exec sleep 1000";
    assert_eq!(shell(lie).follow().end, JobEnd::Exited(42));
}

#[test]
fn a_reader_that_goes_away_ends_the_program_as_a_pipe_does() {
    let (reader, writer) = std::io::pipe().unwrap();
    let all = words(&["yes"]);
    let input = File::open("/dev/null").unwrap();
    let follower = std::thread::spawn(move || {
        let job = Job {
            ssh: stand_in(""),
            words: &all,
            start: Duration::from_secs(60),
            limit: None,
            input: input.as_fd(),
            output: Sink::File(writer.as_fd()),
            errors: Sink::Memory(0),
        };
        job.follow().unwrap()
    });
    let mut first = [0; 2];
    { reader }.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\n");
    assert!(matches!(follower.join().unwrap().end, JobEnd::Exited(1 | 141)));
}

/// It says nothing more that could tell it.
#[test]
fn a_silent_program_ends_with_the_reader_that_it_runs_for() {
    let (reader, writer) = std::io::pipe().unwrap();
    let all = words(&["sh", "-c", "echo first; exec sleep 100000"]);
    let input = File::open("/dev/null").unwrap();
    let follower = std::thread::spawn(move || {
        let job = Job {
            ssh: stand_in(""),
            words: &all,
            start: Duration::from_secs(60),
            limit: Some(Duration::from_secs(60)),
            input: input.as_fd(),
            output: Sink::Reader(writer.as_fd()),
            errors: Sink::Memory(0),
        };
        job.follow().unwrap()
    });
    let mut first = [0; 6];
    { reader }.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first\n");
    assert_eq!(follower.join().unwrap().end, JobEnd::Unread);
}
