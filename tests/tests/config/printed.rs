//! The pages in the repository are what the program prints.

use std::{fs, path::Path, process::Command};

use crate::{Workspace, called};

#[test]
fn the_generated_pages_are_those_in_the_repository() {
    let workspace = Workspace::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for (command, name) in
        [("schema", "config.schema.json"), ("reference", "configuration.md"), ("example", "cloud-machine.yaml")]
    {
        let printed = workspace.call(&["config", command]);
        assert_eq!(printed.code, 0, "{}", printed.errors);
        let stored = fs::read_to_string(folder.join(name)).unwrap();
        let advice =
            format!("docs/reference/{name} is not what `cloud-machine config {command}` prints: write it again");
        assert!(stored == printed.output, "{advice}");
    }
    let example = folder.join("cloud-machine.yaml");
    assert_eq!(workspace.call(&["config", "audit", "--config", &example.to_string_lossy()]).code, 0);
}

#[test]
fn every_example_of_the_guide_is_what_the_program_prints() {
    let workspace = Workspace::new();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/configuration.md");
    let text = fs::read_to_string(guide).unwrap();
    let (mut files, mut calls) = (0, 0);
    for block in text.split("\n```").skip(1).step_by(2) {
        let (kind, body) = block.split_once('\n').unwrap();
        if let Some(name) = kind.strip_prefix("yaml title=") {
            workspace.write(name, format!("{body}\n"));
            files += 1;
        } else if kind == "console" {
            let (command, expected) = body.split_once('\n').unwrap_or((body, ""));
            let line = command.strip_prefix("$ ").unwrap();
            let script = format!("cd ..; {{ {line}; }} 2>&1");
            let mut shell = workspace.command();
            std::os::unix::fs::symlink(shell.get_program(), workspace.folder.join("home/cloud-machine"))
                .unwrap_or_default();
            let path = format!("{}:{}", workspace.folder.join("home").display(), std::env::var("PATH").unwrap());
            let environment: Vec<_> =
                shell.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
            shell = Command::new("sh");
            for (name, value) in environment.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                shell.env(name, value);
            }
            shell.args(["-c", &script]).current_dir(workspace.folder.join("project"));
            shell.env("PATH", path).env_remove("XDG_CONFIG_HOME");
            let printed = called(&mut shell).output;
            let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            // The mark of a secret is another one on each host.
            let unmarked = |text: &str| {
                trimmed(text)
                    .split("[redacted ")
                    .map(|part| part.get(8..).filter(|rest| rest.starts_with(']')).unwrap_or(part).to_owned())
                    .collect::<Vec<_>>()
                    .join("[redacted ")
            };
            assert!(!printed.is_empty(), "$ {line}");
            assert_eq!(unmarked(&printed), unmarked(expected), "$ {line}");
            calls += 1;
        }
    }
    assert!(files >= 2 && calls >= 5, "{files} files, {calls} calls");
}
