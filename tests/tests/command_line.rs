//! Slips of the fingers: arguments that mean nothing, and state folders that are not there, are told and change nothing.

use std::fs;

use cloud_machine_tests::{artifacts::Artifacts, fabricated, program::Program};

fn program() -> Program {
    Program::new(&Artifacts::from_environment_without_image().unwrap())
}

#[test]
fn a_machine_that_is_named_twice_is_wrong_usage_and_nothing_is_done() {
    let program = program();
    fabricated::machine(&program, "a", 1, |record| record["state"] = "stopped".into());
    for arguments in [
        ["create", "b", "b", "--image", "debian-12"].as_slice(),
        &["start", "a", "a"],
        &["stop", "a", "a"],
        &["reimage", "a", "a"],
        &["verify", "a", "a"],
        &["delete", "a", "a", "--yes"],
    ] {
        let called = program.call(arguments, b"");
        assert_eq!(called.code, 2, "{arguments:?}: {}", called.errors);
        assert!(called.errors.contains(" is named twice"), "{arguments:?}: {}", called.errors);
    }
    assert!(program.json(["journal"]).unwrap()["operations"].as_array().unwrap().is_empty());
}

#[test]
fn a_lease_has_a_number_from_1_and_whoever_cannot_have_one_is_not_told_to_name_it() {
    let program = program();
    program.json(["lease", "take", "a", "--owner", "one"]).unwrap();
    for arguments in [
        ["stop", "a", "--lease", "0"].as_slice(),
        &["lease", "renew", "a", "--lease", "0"],
        &["lease", "give-back", "a", "--lease", "0"],
    ] {
        assert_eq!(program.call(arguments, b"").code, 2, "{arguments:?}");
    }
    let refused = program.call(["lease", "take", "a", "--owner", "two"], b"");
    assert_eq!(refused.code, 8);
    assert!(!refused.errors.contains("--lease") && refused.errors.contains("lease renew"), "{}", refused.errors);
}

#[test]
fn who_deletes_without_a_terminal_is_told_of_the_option_that_does_not_ask() {
    let program = program();
    fabricated::machine(&program, "a", 1, |_| ());
    let called = program.call(["delete", "a"], b"");
    assert_eq!(called.code, 1);
    assert!(called.errors.contains("hint: `cloud-machine delete a --yes`"), "{}", called.errors);
    assert!(program.state().join("machines/a/machine.json").exists());
}

#[test]
fn what_is_shown_of_a_machine_has_all_that_its_description_can_differ_in() {
    let program = program();
    fabricated::machine(&program, "a", 1, |record| record["cpus"] = 3.into());
    let shown = program.done(&["show", "a"]);
    assert!(shown.contains("ram           1GiB\n") && shown.contains("cpus          3\n"), "{shown}");
    assert!(!shown.contains("\nlease "), "{shown}");
    program.json(["lease", "take", "a", "--owner", "runner-7"]).unwrap();
    let shown = program.done(&["show", "a"]);
    assert!(shown.contains("\nlease         1 for runner-7 until "), "{shown}");
    assert_eq!(program.json(["show", "a"]).unwrap()["lease"]["number"], 1);
    program.json(["lease", "give-back", "a", "--lease", "1"]).unwrap();
}

#[test]
fn an_image_that_is_not_there_is_not_told_as_a_machine_that_is_not() {
    let program = program();
    fabricated::machine(&program, "a", 1, |record| record["state"] = "stopped".into());
    let called = program.call(["reimage", "a", "--image", "nope"], b"");
    assert_eq!((called.code, called.output.trim()), (4, "a  no image nope"), "{}", called.errors);
    let called = program.call(["reimage", "b"], b"");
    assert_eq!((called.code, called.output.trim()), (4, "b  no machine b"), "{}", called.errors);
}

#[test]
fn a_list_of_nothing_without_header_is_nothing() {
    let program = program();
    fabricated::machine(&program, "a", 1, |_| ());
    assert_eq!(program.done(&["list", "--filter", "name=b", "--no-header"]), "");
    let refused = program.call(["list", "--filter", "state=bogus"], b"");
    assert_eq!(refused.code, 2);
    assert!(refused.errors.contains("creating, requested, writing, accepted, running"), "{}", refused.errors);
}

#[test]
fn a_command_that_makes_no_machine_and_no_image_makes_no_state_folder() {
    let program = program();
    let folder = program.command().get_current_dir().unwrap().to_owned();
    for (arguments, code) in [
        (["list"].as_slice(), 0),
        (&["journal"], 0),
        (&["lease", "list"], 0),
        (&["image", "list"], 0),
        (&["show", "a"], 4),
        (&["plan", "a"], 4),
        (&["verify", "a"], 4),
        (&["start", "a"], 4),
        (&["stop", "a"], 4),
        (&["reimage", "a"], 4),
        (&["delete", "a", "--yes"], 4),
        (&["console", "a"], 4),
        (&["logs", "a"], 4),
        (&["exec", "a", "--", "true"], 4),
        (&["ssh", "a"], 4),
        (&["cp", "a:/x", "."], 4),
        (&["journal", "a"], 4),
        (&["image", "inspect", "x"], 4),
        (&["image", "delete", "x", "--yes"], 4),
        (&["lease", "give-back", "a", "--lease", "1"], 8),
        (&["config", "show"], 0),
        (&["config", "audit"], 0),
    ] {
        for state in [folder.join("state"), folder.join("typo/state")] {
            let state = ["--state", state.to_str().unwrap()];
            let called = program.call(state.iter().chain(arguments), b"");
            assert_eq!(called.code, code, "{arguments:?}: {}", called.errors);
            let made: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(made.is_empty(), "{arguments:?} made {made:?}");
        }
    }
    for (state, code, told) in [("state", 0, "is not there yet"), ("typo/state", 1, "there is no folder")] {
        let state = folder.join(state).display().to_string();
        let called = program.call(["--state", &state, "doctor"], b"");
        assert_eq!(called.code, code, "{}{}", called.output, called.errors);
        assert!(called.output.contains(told), "{}", called.output);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
    let told = program.call(["list"], b"").errors;
    assert!(told.contains(&format!("nothing was ever stored in {}", folder.join("state").display())), "{told}");
}

#[test]
fn of_a_state_folder_that_somebody_named_only_the_last_part_is_made() {
    let program = program();
    let folder = program.command().get_current_dir().unwrap().to_owned();
    let take = |state: &str| {
        program.call(["lease", "take", "a", "--owner", "o", "--state", &folder.join(state).display().to_string()], b"")
    };
    let refused = take("typo/state");
    assert_eq!(refused.code, 4, "{}", refused.errors);
    assert!(
        refused.errors.contains("/typo for the state folder") && refused.errors.contains("--state"),
        "{}",
        refused.errors
    );
    assert!(!folder.join("typo").exists());
    assert_eq!(take("other").code, 0);
    assert!(folder.join("other/machines").is_dir());
}
