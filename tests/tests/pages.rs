//! The pages against the tree: a file that a page names is there. Must not read what a page says of it.

use std::{fs, path::Path};

/// What a path begins with that is meant from the top of the checkout.
const TOPS: [&str; 10] =
    ["crates/", "cli/", "guest-agent/", "initramfs/", "images/", "packages/", "setup/", "systemd/", "tests/", "docs/"];

/// Every page, also those of folders.
fn pages(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The paths in backticks; a place for a name, such as `NAME`, is none.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|path| {
        TOPS.iter().any(|top| path.starts_with(top))
            && !path.contains(|other: char| " *{$<\n".contains(other) || other.is_ascii_uppercase())
    })
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    pages(&top.join("docs"), &mut all);
    for page in ["README.md", "CONTRIBUTING.md"] {
        all.push((page.to_owned(), fs::read_to_string(top.join(page)).unwrap()));
    }
    let mut count = 0;
    let mut absent = Vec::new();
    for (page, text) in &all {
        for path in named(text) {
            count += 1;
            if !top.join(path).exists() {
                absent.push(format!("{page}: {path}"));
            }
        }
    }
    assert!(count > 60, "only {count} paths were found");
    assert!(absent.is_empty(), "{absent:#?}");
}

#[test]
fn every_example_of_a_configuration_begins_with_the_same_words() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = vec![("README.md".to_owned(), fs::read_to_string(top.join("README.md")).unwrap())];
    pages(&top.join("docs"), &mut all);
    let lines = |words: &str| -> Vec<String> {
        all.iter().filter(|(_, text)| text.lines().any(|line| line == words)).map(|(page, _)| page.clone()).collect()
    };
    assert_eq!(lines("#cloud-config"), [""; 0], "write `#cloud-init`");
    assert!(lines("#cloud-init").len() > 3);
}
