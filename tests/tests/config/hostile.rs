//! Hostile documents, given to the program: each has its error or its meaning, in bounded memory.

use std::process::Command;

use cloud_machine_tests::hostile_documents::{MEMORY, all};

use crate::{Workspace, called};

#[test]
fn every_hostile_document_has_a_clear_end_in_bounded_memory() {
    for case in all() {
        let workspace = Workspace::new();
        let project = workspace.folder.join("project");
        let arguments = case.write(&project).unwrap();
        // The whole address space is bounded, which is stricter than the memory in use: beyond it, allocation fails and
        // the program is aborted.
        let mut command = Command::new("prlimit");
        let own = workspace.command();
        command.arg(format!("--as={MEMORY}")).arg(own.get_program()).args(arguments).current_dir(project);
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let called = called(&mut command);
        let said = format!("{}{}", called.output, called.errors);
        let excerpt: String = said.chars().take(2000).collect();
        assert_eq!(called.code, case.code, "{}: {excerpt}", case.name);
        assert!(said.contains(case.says), "{}: expected {:?} in\n{excerpt}", case.name, case.says);
        assert!(called.errors.len() < 20_000, "{}: an error of {} bytes", case.name, called.errors.len());
    }
}
