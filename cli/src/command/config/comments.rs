//! Remarks on values, as comments in the YAML that holds them. Must not change what the YAML says.

use std::collections::BTreeMap;

use cloud_machine_config::{LayerKind, Location, merge, parse};

use cloud_machine_operation::described::refused;

use crate::failure::Failure;

/// `yaml` as the library writes it, with the remark on each leaf's path behind the line on which its value begins.
pub(super) fn annotated(yaml: &str, remarks: &BTreeMap<String, String>) -> Result<String, Failure> {
    // The document's own parser says where each value is, so that no second one can disagree.
    let document = parse(LayerKind::CommandLine, "audit", yaml.as_bytes()).map_err(refused)?;
    let mut lines: BTreeMap<usize, &str> = BTreeMap::new();
    for leaf in merge(&[document]).map_err(refused)?.leaves() {
        if let (Location::Text { line, .. }, Some(remark)) = (leaf.origin.location, remarks.get(&leaf.path)) {
            lines.insert(line, remark);
        }
    }
    let line = |(index, text): (usize, &str)| match lines.get(&(index + 1)) {
        Some(remark) => format!("{text}  # {remark}\n"),
        None => format!("{text}\n"),
    };
    Ok(yaml.lines().enumerate().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_stands_behind_its_value_and_changes_nothing() {
        let yaml = "a:\n  b: 1\n  c:\n    - x\n    - y: z\nd: \"#\"\ne: {}\n";
        let remarks = [("a.b", "one"), ("a.c", "two"), ("d", "three"), ("absent", "four")];
        let remarks = remarks.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        let text = annotated(yaml, &remarks).unwrap();
        assert_eq!(text, "a:\n  b: 1  # one\n  c:\n    - x  # two\n    - y: z\nd: \"#\"  # three\ne: {}\n");
        let load = |text: &str| merge(&[parse(LayerKind::User, "u", text.as_bytes()).unwrap()]).unwrap().to_yaml();
        assert_eq!(load(&text), yaml);
    }
}
