//! What cloud-init is handed means to its reader of YAML 1.1 what the user's own document means to it: documents at random,
//! in every style that a value can be written in, and PyYAML, the reader of cloud-init, as the judge.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::disallowed_methods)]

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

const DOCUMENTS: usize = 2000;
/// What makes a document a machine's; it is not handed on.
const OURS: &str = "cloud-machine: {driver: qemu, image: x, resources: {disks: {system: {boot-partition: true}}}}\n";

/// Words that readers of YAML 1.1 and 1.2 take for different things, or for something else than a text.
const WORDS: &[&str] = &[
    "yes",
    "Yes",
    "YES",
    "no",
    "No",
    "on",
    "On",
    "off",
    "OFF",
    "y",
    "Y",
    "n",
    "true",
    "True",
    "FALSE",
    "0",
    "-0",
    "+1",
    "017",
    "0777",
    "0o17",
    "0x1F",
    "0b101",
    "-0b1",
    "1_000",
    "1_0.5",
    "1__0",
    "_1",
    "1.5",
    "1.",
    ".5",
    "+.5",
    "1e3",
    "1.0e3",
    "1.0e+3",
    "1e400",
    ".inf",
    "-.INF",
    ".nan",
    ".NaN",
    "12:30",
    "12:30:45",
    "1:2:3.5",
    "190:20:30",
    "-1:00",
    "2001-12-14",
    "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43",
    "99-01-01",
    "=",
    "<<",
    "~x",
    "nulls",
    "-x",
    "?x",
    ":x",
    "x#y",
    "a b",
    "0.0.0.0",
    "1.2.3.4/24",
    "00:11:22:33:44:55",
];

#[derive(Clone, Debug)]
enum Value {
    Plain(&'static str),
    Single(String),
    Double(String),
    /// Lines of a block, `|` or `>`, and how it ends.
    Block(char, &'static str, Vec<String>),
    List(Vec<Value>),
    Map(Vec<(Key, Value)>),
    Flow(Vec<&'static str>),
}

#[derive(Clone, Debug)]
enum Key {
    Plain(&'static str),
    Double(String),
}

/// Text in which every class of characters that YAML treats by itself comes up.
fn text() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a", "Z", "0", " ", "  ", "\t", "\n", "\\", "\"", "'", ": ", " #", "- ", "? ", "%", "@", "`", "!", "&", "*",
        "|", ">", "{", "}", "[", "]", ",", "é", "ß", "漢", "🦀", "\u{85}", "\u{a0}", "\u{2028}", "\u{feff}", "\u{7f}",
        "\u{1b}", "yes", "0777", "<<", "=", "null", "~", "---", "...",
    ]);
    let pieces = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    // In quotes a word is a text, and has to stay one.
    prop_oneof![2 => pieces, 1 => select(WORDS).prop_map(str::to_owned)]
}

/// Text that a line of a block or of single quotes can hold.
fn line() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{feff}')).collect())
}

fn scalar() -> impl Strategy<Value = Value> {
    let ends = select(vec!["", "-", "+"]);
    prop_oneof![
        4 => select(WORDS).prop_map(Value::Plain),
        2 => line().prop_map(Value::Single),
        3 => text().prop_map(Value::Double),
        2 => (select(vec!['|', '>']), ends, prop::collection::vec(line(), 1..4))
            .prop_map(|(kind, end, lines)| Value::Block(kind, end, lines)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        select(vec!["k", "name", "on", "no", "0777", "12:30", "1.5", "a b", "2001-12-14"]).prop_map(Key::Plain),
        line().prop_map(Key::Double),
    ];
    let flow = prop::collection::vec(select(vec!["yes", "0777", "1:20", "x", "\"no\"", "'010'", "1_0"]), 1..4);
    scalar().prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Value::List),
            prop::collection::vec((key.clone(), inner), 1..4).prop_map(Value::Map),
            flow.clone().prop_map(Value::Flow),
        ]
    })
}

fn quoted(text: &str) -> String {
    // JSON's strings are those of YAML in double quotes, but for characters that YAML wants escaped and JSON does not.
    let mut shown = String::new();
    for character in serde_json::to_string(text).unwrap().chars() {
        match character {
            '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{feff}' | '\u{7f}' => {
                shown += &format!("\\u{:04x}", u32::from(character))
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// The value behind its key or dash.
fn write(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Plain(word) => *out += &format!(" {word}\n"),
        Value::Single(text) => *out += &format!(" '{}'\n", text.replace('\'', "''")),
        Value::Double(text) => *out += &format!(" {}\n", quoted(text)),
        Value::Flow(words) => *out += &format!(" [{}]\n", words.join(", ")),
        Value::Block(kind, end, lines) => {
            // An indentation that is said needs none to be guessed from a first line with blanks.
            *out += &format!(" {kind}2{end}\n");
            for line in lines {
                *out += &format!("{pad}{line}\n");
            }
        }
        Value::List(items) => {
            out.push('\n');
            for item in items {
                *out += &format!("{pad}-");
                write(item, indent + 2, out);
            }
        }
        Value::Map(entries) => {
            out.push('\n');
            let mut seen = BTreeSet::new();
            for (key, value) in entries {
                let key = match key {
                    Key::Plain(word) => (*word).to_owned(),
                    Key::Double(text) => quoted(text),
                };
                if seen.insert(key.clone()) {
                    *out += &format!("{pad}{key}:");
                    write(value, indent + 2, out);
                }
            }
        }
    }
}

fn document(values: &[Value]) -> String {
    let mut out = "#cloud-config\n".to_owned();
    for (index, value) in values.iter().enumerate() {
        out += &format!("key_{index}:");
        write(value, 2, &mut out);
    }
    out + OURS
}

/// What cloud-init is handed of a document; `None` when the document is refused.
fn handed(text: &str) -> Option<String> {
    let document = parse(LayerKind::Project, "f", text.as_bytes()).ok()?;
    let merged = merge(&[defaults(), document]).ok()?;
    Some(validate(&merged).unwrap_or_else(|errors| panic!("{text}\n{errors}")).cloud_init.to_yaml())
}

/// Reads pairs of documents and says of each pair what PyYAML's safe loader, which cloud-init uses, makes of both.
const JUDGE: &str = r#"
import json, sys, yaml
def told(value):
    if isinstance(value, dict):
        return ["map", sorted([told(k), told(v)] for k, v in value.items())]
    if isinstance(value, list):
        return ["list", [told(v) for v in value]]
    return [type(value).__name__, repr(value)]
def read(text):
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        return ["refused", type(error).__name__]
    if isinstance(value, dict):
        value.pop("cloud-machine", None)
    return told(value or {})
print(json.dumps([[read(a), read(b)] for a, b in json.load(sys.stdin)]))
"#;

fn judged(pairs: &[(String, String)]) -> Vec<(serde_json::Value, serde_json::Value)> {
    let mut python = Command::new("python3");
    python.args(["-c", JUDGE]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("install the package python3-yaml");
    let input = serde_json::to_vec(pairs).unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "install the package python3-yaml");
    writer.join().unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_is_handed_on_means_what_was_written() {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let documents = prop::collection::vec(value(), 1..4);
    let texts = (0..DOCUMENTS).map(|_| document(&documents.new_tree(&mut runner).unwrap().current()));
    let pairs: Vec<(String, String)> = texts.filter_map(|text| handed(&text).map(|handed| (text, handed))).collect();
    assert!(pairs.len() > DOCUMENTS / 2, "only {} of {DOCUMENTS} documents are taken", pairs.len());
    let judged = judged(&pairs);
    assert_eq!(judged.len(), pairs.len());
    let read = judged.iter().filter(|(written, _)| written[0] != "refused").count();
    assert!(read > DOCUMENTS / 2, "PyYAML reads only {read} of {DOCUMENTS} documents");
    for ((text, handed), (written, read)) in pairs.iter().zip(&judged) {
        assert_eq!(written, read, "--- written\n{text}\n--- handed on\n{handed}");
    }
}
