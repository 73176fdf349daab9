use std::path::Path;

use super::*;

const BOUNDS: Bounds = Bounds { limit: Duration::from_secs(60), output: 1 << 20 };

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn what_a_program_says_and_how_it_ends_comes_back() {
    let output = run(&mut shell("cat; echo out; echo err >&2; exit 3"), BOUNDS).unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.status.code(), Some(3));
    let error = run(&mut Command::new("/nonexistent/program"), BOUNDS).unwrap_err();
    assert_eq!(error.to_string(), "cannot run /nonexistent/program");
}

#[test]
fn a_program_that_does_not_end_is_ended_and_its_last_words_are_told() {
    let bounds = Bounds { limit: Duration::from_millis(500), ..BOUNDS };
    let error = run(&mut shell("printf 'a\\033[2Jb' >&2; exec sleep 1000"), bounds).unwrap_err();
    assert!(matches!(error, ChildError::TimedOut { .. }), "{error}");
    assert!(error.to_string().ends_with("it said: a\\u{1b}[2Jb"), "{error}");
}

#[test]
fn a_program_that_says_too_much_is_ended_on_either_stream() {
    for script in ["exec yes", "exec yes >&2", "head -c 400M /dev/zero"] {
        let error = run(&mut shell(script), BOUNDS).unwrap_err();
        assert_eq!(error.to_string(), "sh said more than 1048576 bytes and was ended", "{script}");
    }
}

#[test]
fn a_program_that_closes_its_output_is_still_waited_for() {
    let output = run(&mut shell("exec >&- 2>&-; sleep 0.2; exit 9"), BOUNDS).unwrap();
    assert_eq!(output.status.code(), Some(9));
}

/// The child of a program inherits its pipes and its group.
#[test]
fn what_a_program_leaves_behind_neither_holds_the_caller_nor_lives_on() {
    let output = run(&mut shell("sleep 1000 & echo $!"), BOUNDS).unwrap();
    let left = String::from_utf8(output.stdout).unwrap();
    // Killed; whoever inherits it may not have reaped it yet.
    let status = Path::new("/proc").join(left.trim()).join("status");
    let dead = || std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !dead() {
        assert!(Instant::now() < deadline, "process {left} lives on");
        std::thread::yield_now();
    }
}
