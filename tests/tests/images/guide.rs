//! The guide on images says what the programs say.

use std::{fs, path::Path};

use crate::Workspace;

/// A text without what is another one on each host: ids of keys, the release of the kernel, blanks at the end.
fn plain(text: &str) -> String {
    let line = |line: &str| {
        if line.starts_with("kernel  ") {
            return "kernel".to_owned();
        }
        let mut plain = String::new();
        let mut word = String::new();
        for character in line.trim_end().chars().chain(['\n']) {
            if character.is_ascii_alphanumeric() {
                word.push(character);
                continue;
            }
            let id =
                word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
            plain.push_str(if id { "ID" } else { &word });
            plain.push(character);
            word.clear();
        }
        plain.trim_end().to_owned()
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_of_the_guide_is_what_the_programs_print() {
    let workspace = Workspace::new();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/images.md");
    let text = fs::read_to_string(guide).unwrap();
    let mut calls = 0;
    for block in text.split("\n```").skip(1).step_by(2) {
        let (kind, body) = block.split_once('\n').unwrap();
        if let Some(name) = kind.strip_prefix("yaml title=") {
            fs::write(workspace.folder.join(name), format!("{body}\n")).unwrap();
        } else if kind == "console" {
            for call in body.strip_prefix("$ ").unwrap().split("\n$ ") {
                let (command, expected) = call.split_once('\n').unwrap_or((call, ""));
                let called = workspace.call(&format!("{{ {command}; }} 2>&1"));
                assert_eq!(plain(&called.output), plain(expected), "$ {command}");
                calls += 1;
            }
        }
    }
    assert!(calls >= 15, "{calls} calls");
}
