//! Leases and the journal as users meet them: who is refused, with which exit code, and what is noted.

use std::fs;

use cloud_machine_tests::{artifacts::Artifacts, fabricated, program::Program};

fn program() -> Program {
    Program::new(&Artifacts::from_environment_without_image().unwrap())
}

#[test]
fn a_machine_that_is_leased_is_changed_only_by_whoever_names_the_lease() {
    let program = program();
    let folder = fabricated::machine(&program, "demo", 1, |record| record["state"] = "stopped".into());
    let lease = program.json(["lease", "take", "demo", "--owner", "runner-7"]).unwrap();
    assert_eq!(lease["number"], 1);
    let before = fs::read(folder.join("machine.json")).unwrap();
    for arguments in [
        vec!["stop", "demo"],
        vec!["start", "demo"],
        vec!["reimage", "demo"],
        vec!["delete", "demo", "--yes"],
        vec!["stop", "demo", "--lease", "2"],
        vec!["lease", "take", "demo", "--owner", "other"],
    ] {
        let called = program.call(&arguments, b"");
        assert_eq!(called.code, 8, "{arguments:?}: {}", called.errors);
    }
    let told = program.call(["stop", "demo"], b"").errors;
    assert!(
        told.contains("machine demo is leased to \"runner-7\" until ") && told.contains("--lease NUMBER"),
        "{told}"
    );
    assert_eq!(fs::read(folder.join("machine.json")).unwrap(), before);
    assert_eq!(program.call(["stop", "demo", "other", "--lease", "1"], b"").code, 2, "a lease is of one machine");
    assert_eq!(program.call(["stop", "demo", "--lease", "1"], b"").code, 0);
    program.json(["lease", "give-back", "demo", "--lease", "1"]).unwrap();
    assert_eq!(program.call(["stop", "demo"], b"").code, 0);
    assert!(program.json(["lease", "list"]).unwrap()["leases"].as_array().unwrap().is_empty());
    let journal = program.json(["journal", "demo"]).unwrap();
    let operations: Vec<_> = journal["operations"].as_array().unwrap().iter().collect();
    let expected = ["stop", "stop"].map(|operation| (operation.into(), "done".into()));
    let noted: Vec<_> = operations.iter().map(|one| (one["operation"].clone(), one["outcome"].clone())).collect();
    assert_eq!(noted, expected, "what never began is not noted");
}

#[test]
fn a_journal_that_cannot_be_written_is_told_and_stops_nothing() {
    let program = program();
    fabricated::machine(&program, "demo", 1, |record| record["state"] = "stopped".into());
    fs::create_dir(program.state().join("journal.ndjson")).unwrap();
    let called = program.call(["stop", "demo"], b"");
    assert_eq!(called.code, 0, "{}", called.errors);
    assert!(called.errors.contains("cannot write to the journal"), "{}", called.errors);
}
