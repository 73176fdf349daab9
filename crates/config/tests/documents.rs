//! Documents that are refused, each with its place and message; and odd ones that are accepted.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{ConfigError, LayerKind, MAX_DOCUMENT, MAX_NODES, MAX_SCALAR, merge, parse};

fn refused(bytes: &[u8]) -> ConfigError {
    let errors = parse(LayerKind::Project, "cloud-machine.yaml", bytes).unwrap_err();
    assert!(!errors.to_string().chars().any(|c| c.is_control() && c != '\n'), "{errors}");
    errors.errors()[0].clone()
}

fn yaml(bytes: &[u8]) -> String {
    let document = parse(LayerKind::Project, "cloud-machine.yaml", bytes).unwrap_or_else(|errors| panic!("{errors}"));
    merge(&[document]).unwrap().to_yaml()
}

#[test]
fn each_hostile_document_is_refused_at_its_place() {
    let cases: [(&[u8], usize, usize, &str); 33] = [
        (b"a: &x 1", 1, 4, "anchors are not supported"),
        (b"a: &x {b: 1}", 1, 4, "anchors are not supported"),
        (b"- &x\n- *x", 1, 3, "anchors are not supported"),
        (b"a: 1\nb: *x", 2, 4, "aliases are not supported"),
        (b"a: 1\n<<: {b: 2}", 2, 1, "merge keys `<<` are not supported"),
        (b"a: !rest", 1, 4, "unknown tag `!rest`"),
        (b"a: !!int 1", 1, 4, "unknown tag `tag:yaml.org,2002:int`"),
        (b"a: !!set {b: 1}", 1, 4, "unknown tag `tag:yaml.org,2002:set`"),
        (b"%TAG ! tag:x,2000:\n---\na: !reset", 3, 4, "unknown tag `tag:x,2000:reset`"),
        (b"a: !reset 1", 1, 4, "the tag `!reset` takes no value"),
        (b"a: !final", 1, 4, "the tag `!final` needs a value"),
        (b"a: !append {b: 1}", 1, 4, "the tag `!append` extends a list, and this is none"),
        (b"a: [!final 1]", 1, 5, "the tag `!final` means nothing inside a list"),
        (b"a: [{b: !reset }]", 1, 9, "the tag `!reset` means nothing inside a list"),
        (b"!final k: 1", 1, 1, "the tag `!final` means nothing on a key"),
        (b"!final {a: 1}", 1, 1, "the tag `!final` means nothing on the whole document"),
        (b"exclude: a.b", 1, 10, "found a text"),
        (b"a: !<x\x07> 1", 1, 7, "the document contains the character U+0007"),
        (b"a: 1\n---\nb: 2", 2, 1, "a second document begins here"),
        (b"a: 1\nb: 2\na: 3", 3, 1, "the key `a` is there twice, first in line 1"),
        (b"a: {b: 1, 'b': 2}", 1, 11, "the key `b` is there twice, first in line 1"),
        (b"a: b\0c", 1, 5, "the document contains the character U+0000"),
        (b"a: \"b\\0c\"", 1, 4, "the value contains the character U+0000"),
        (b"a: \xc3\xa4\nb: \xff", 2, 4, "the document is not UTF-8 here"),
        (b"a: \x1b[31m", 1, 4, "the document contains the character U+001B"),
        (b"- a\n- b", 1, 1, "the document is a list"),
        (b"text", 1, 1, "the document is a text"),
        (b"~: 1", 1, 1, "a key is empty"),
        (b"a: {'': 1}", 1, 5, "a key is empty"),
        (b"? [a]\n: 1", 1, 3, "a key is a map or a list"),
        (b"a:\tb", 1, 4, "':' must be followed by a valid YAML whitespace"),
        (b"a: 'b", 1, 4, "while scanning a quoted scalar, found unexpected end of stream"),
        (b"a:\n\tb: 1", 2, 2, "tabs disallowed"),
    ];
    for (bytes, line, column, message) in cases {
        let error = refused(bytes);
        let text = String::from_utf8_lossy(bytes);
        assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        assert!(error.message.contains(message), "{text:?}: {error}");
    }
}

#[test]
fn each_budget_is_held() {
    let nested = format!("a: {}1{}", "[".repeat(17), "]".repeat(17));
    let maps: String = (0..17).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let many = format!("a: [{}]", "1,".repeat(MAX_NODES));
    let long = format!("a: {}", "x".repeat(MAX_SCALAR + 1));
    let deep = "[".repeat(5000);
    let bomb = "a: &a [x,x]\nb: &b [*a,*a]\n";
    for (text, message) in [
        (&nested[..], "maps and lists are nested too deep"),
        (&maps, "maps and lists are nested too deep"),
        (&deep, "maps and lists are nested too deep"),
        (&many, "the document has too many values"),
        (&long, "the value has 262145 bytes"),
        (&format!("{}: 1", "k".repeat(241)), "a key has 241 bytes"),
        (&"#".repeat(MAX_DOCUMENT + 1), "the document has 1048577 bytes"),
        (bomb, "anchors are not supported"),
    ] {
        let error = refused(text.as_bytes());
        assert_eq!(error.message, message);
    }
    let fits = format!("a: {}1{}", "[".repeat(15), "]".repeat(15));
    assert!(parse(LayerKind::Project, "f", fits.as_bytes()).is_ok());
    let fits = format!("a: {}", "x".repeat(MAX_SCALAR));
    assert!(parse(LayerKind::Project, "f", fits.as_bytes()).is_ok());
}

#[test]
fn odd_but_harmless_documents_are_accepted() {
    for empty in [&b""[..], b"#cloud-init\n", b"\xef\xbb\xbf#cloud-config\r\n", b"---\n...\n", b"~", b"\n\n"] {
        assert_eq!(yaml(empty), "{}\n");
    }
    assert_eq!(yaml(b"\xef\xbb\xbf#cloud-init\r\na : 1\r\nb:\r\n  - x\r\n...\r\n"), "a: 1\nb:\n  - x\n");
    assert_eq!(yaml(b"mode: 0777\nanswer: no\nport: 0x1F"), "mode: 0777\nanswer: no\nport: 0x1F\n");
    assert_eq!(yaml(b"80: a\ntrue: b\n'80x': c"), "80: a\ntrue: b\n\"80x\": c\n");
}

#[test]
fn the_example_of_the_seed_is_answered_with_what_to_write() {
    let error = refused(include_bytes!("seed.yaml"));
    assert_eq!((error.line, error.column), (11, 34), "{error}");
    let expected =
        "`filesystem` cannot have a value and keys below it: write `filesystem: {type: zfs, kernel-module: zfs}`";
    assert_eq!(error.suggestion.as_deref(), Some(expected));
}

#[test]
fn an_error_in_the_document_is_shown_with_its_line_and_a_caret() {
    let errors = parse(LayerKind::Project, "cloud-machine.yaml", include_bytes!("seed.yaml")).unwrap_err();
    let expected = "\
error: cloud-machine.yaml:11:34: mapping values are not allowed in this context
   |
11 |                     kernel-module: zfs
   |                                  ^
   |
   = help: `filesystem` cannot have a value and keys below it: write `filesystem: {type: zfs, kernel-module: zfs}`";
    assert_eq!(errors.to_string(), expected);
}
