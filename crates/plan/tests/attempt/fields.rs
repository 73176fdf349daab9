//! Every field of a report is checked or named informational. The fields are those of the types: a report with a field too
//! many is refused with the names of all that there are, and each of those has to be in one of the samples.

use std::collections::{BTreeMap, BTreeSet};

use cloud_machine_plan::{Expected, INFORMATIONAL, Rejection, verify};
use cloud_machine_protocol::{Action, ChangedExtents, MAX_CHANGED_EXTENTS, Report, RescueHostKey, RootOfTrust, Tier};
use serde_json::{Value, json};

use crate::{documents, honest::honest, image_source, partitions, root_pool, tiers, trust, verify as attempt};

/// Fields of which every value within bounds is accepted: those far out are refused.
const BOUNDED: [&str; 4] =
    ["disks[].zero_bytes", "steps[].written_bytes", "steps[].zeroed_bytes", "steps[].read_back_bytes"];

/// Attempts which have, all of them together, every field.
fn samples() -> Vec<(Expected, Report)> {
    let plain = |action| (attempt::expected(action), attempt::report(action));
    let (expected, mut changed) = plain(Action::Reimage);
    changed.changed = vec![attempt::changed(&[(65_536, 65_536), (1 << 20, 131_072)])];
    let changed = honest(changed);
    vec![
        plain(Action::Reimage),
        plain(Action::Boot),
        (expected, changed),
        tiers::attempt(Some(Tier::Hinted), Tier::Hinted),
        tiers::attempt(None, Tier::Stream),
        root_pool::attempt(Tier::Receive),
        root_pool::attempt(Tier::Clone),
        image_source::fetched(),
        partitions::sample(),
        partitions::fresh_sample(),
        documents::sample(true),
        documents::sample(false),
        crate::media::sample(),
        crate::wiping::sample(),
        trust::rescue(Action::Reimage, RescueHostKey::Unknown),
        trust::rescue(Action::Boot, RescueHostKey::Known),
    ]
}

/// An attempt after which more ranges had differed than a report lists.
fn long_list() -> (Expected, Report) {
    let (expected, mut report) = (attempt::expected(Action::Reimage), attempt::report(Action::Reimage));
    let ranges: Vec<(u64, u64)> = (0..MAX_CHANGED_EXTENTS as u64).map(|index| (index * 64, 32)).collect();
    let mut changed = attempt::changed(&ranges);
    (changed.count, changed.bytes) = (changed.count + 7, changed.bytes + 4096);
    report.changed = vec![changed];
    (expected, honest(report))
}

#[test]
fn a_list_of_changes_that_is_cut_off_still_has_to_be_possible() {
    let (expected, report) = long_list();
    verify(&expected, &report).unwrap();
    type Lie = fn(&mut ChangedExtents);
    let lies: [Lie; 4] = [
        |changed| changed.extents.truncate(100),
        |changed| changed.bytes -= 4096,
        |changed| changed.bytes = 1 << 40,
        |changed| changed.count = MAX_CHANGED_EXTENTS as u64,
    ];
    for (index, lie) in lies.into_iter().enumerate() {
        let mut report = report.clone();
        lie(&mut report.changed[0]);
        let found = verify(&expected, &honest(report));
        assert!(matches!(found, Err(Rejection::Changes { .. })), "{index}: {found:?}");
    }
}

/// Every place of a JSON tree, as the steps that lead to it.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| places(value, &format!("{at}/{}", escaped(key)), found))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// A key in a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The place as a path of field names, whichever element of a list it is in.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(_) => path.push_str("[]"),
            Err(_) if path.is_empty() => path.push_str(&part.replace('-', "_")),
            Err(_) => path.push_str(&format!(".{}", part.replace('-', "_"))),
        }
    }
    path
}

fn is_informational(path: &str) -> bool {
    let within =
        |field: &str| path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    INFORMATIONAL.iter().any(|(field, _)| within(field))
}

/// Whether the value at `pointer` is its own affair: of some fields that depends on what lies beside them.
fn may_differ(expected: &Expected, tree: &Value, pointer: &str) -> bool {
    if matches!(pointer, "/agent/kernel_release" | "/agent/command_line_digest") {
        return expected.root_of_trust == RootOfTrust::Provider;
    }
    if let Some(item) = pointer.strip_suffix("/public") {
        let name = tree.pointer(&format!("{item}/name")).and_then(Value::as_str);
        return name == Some("authorized-keys") && tree.pointer("/config/url").is_some_and(Value::is_object);
    }
    if pointer == "/config/url/document" {
        return expected.url.as_ref().is_none_or(|url| url.document.is_none());
    }
    let Some((step, _)) = pointer.split_once("/outcome") else { return true };
    let kind = tree.pointer(&format!("{step}/step/kind")).and_then(Value::as_str);
    matches!(kind, Some("import-pool" | "make-datasets"))
}

/// Other values than `value`, some of them of the same shape.
fn others(value: &Value, words: &BTreeSet<String>) -> Vec<Value> {
    let mut others = vec![Value::Null];
    match value {
        Value::Null => others = vec![json!(0), json!(1), json!("x"), json!([]), json!({})],
        Value::Bool(bit) => others.push(json!(!bit)),
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            others.extend([json!(number + 1), json!(u64::MAX), json!(number / 2)]);
            others.extend(number.checked_sub(1).map(|less| json!(less)));
            others.push(json!(0));
        }
        Value::String(text) => {
            let mut last = text.clone();
            let digit = if last.pop() == Some('1') { '0' } else { '1' };
            others.extend([json!(""), json!(format!("{text}x")), json!(format!("{last}{digit}"))]);
            others.extend(words.iter().map(|word| json!(word)));
        }
        Value::Array(list) => {
            others.push(json!([]));
            others.extend((0..list.len()).map(|index| json!([&list[..index], &list[index + 1..]].concat())));
            others.extend(list.last().map(|last| json!([list.as_slice(), std::slice::from_ref(last)].concat())));
        }
        Value::Object(map) => {
            for key in map.keys() {
                let mut less = map.clone();
                less.remove(key);
                others.push(Value::Object(less));
            }
            let mut more = map.clone();
            more.insert("one more".to_owned(), json!("x"));
            others.push(Value::Object(more));
        }
    }
    others.retain(|other| other != value);
    others
}

/// The words between backticks in an error of the parser: every field or every variant that a type has.
fn quoted(error: &str) -> Vec<&str> {
    error.split('`').skip(1).step_by(2).collect()
}

/// The fields of the type at each place that is a structure, from the parser's own mouth.
fn fields_of_types(report: &Report) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let tree = serde_json::to_value(report).unwrap();
    let mut pointers = Vec::new();
    places(&tree, "", &mut pointers);
    for pointer in pointers {
        let mut more = tree.clone();
        let Some(Value::Object(map)) = more.pointer_mut(&pointer) else { continue };
        // A variant without fields takes any (serde#2294); whoever reads evidence compares it with what would be written.
        if map.len() == 1 && map.contains_key("kind") {
            continue;
        }
        map.insert("no such field".to_owned(), Value::Null);
        let Err(error) = serde_json::from_value::<Report>(more) else { panic!("{pointer} takes any field") };
        let error = error.to_string();
        // Keys of the configuration are data: their values are what is refused there.
        if !error.contains("unknown field") {
            assert!(path(&pointer) == "config.origins", "{pointer}: {error}");
            continue;
        }
        let fields =
            quoted(&error).into_iter().skip(1).map(|field| format!("{}.{}", path(&pointer), field.replace('-', "_")));
        all.entry(path(&pointer)).or_default().extend(fields.map(|field| field.trim_start_matches('.').to_owned()));
    }
    all
}

#[test]
fn the_samples_have_every_field_of_the_types() {
    let (mut types, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (_, report) in samples() {
        types.extend(fields_of_types(&report).into_values().flatten());
        let mut pointers = Vec::new();
        places(&serde_json::to_value(&report).unwrap(), "", &mut pointers);
        seen.extend(pointers.iter().map(|pointer| path(pointer)));
    }
    let missing: Vec<&String> =
        types.iter().filter(|field| !seen.contains(*field) && !is_informational(field)).collect();
    assert!(missing.is_empty(), "no sample has {missing:#?}");
    // What a report of a failed attempt has is another matter: it is refused as such.
    assert!(types.contains("devices[].disk.serial") && types.contains("steps[].step.image_size"), "{types:#?}");
}

#[test]
fn every_field_is_checked_or_named_informational() {
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused: BTreeSet<String> = BTreeSet::new();
    for (expected, report) in samples() {
        let honest =
            verify(&expected, &report).unwrap_or_else(|rejection| panic!("a sample is refused: {rejection}")).assurance;
        let tree = serde_json::to_value(&report).unwrap();
        let mut pointers = Vec::new();
        places(&tree, "", &mut pointers);
        for pointer in pointers.iter().skip(1) {
            let value = tree.pointer(pointer).unwrap();
            let words = variants(&tree, pointer);
            for other in others(value, &words) {
                let mut changed = tree.clone();
                *changed.pointer_mut(pointer).unwrap() = other.clone();
                let read = serde_json::from_value::<Report>(changed);
                // `null` in place of a list that may be left out, and such: the same report in other words.
                if read.as_ref().is_ok_and(|read| *read == report) {
                    continue;
                }
                let path = path(pointer);
                let found = read.ok().and_then(|read| verify(&expected, &read).ok());
                let level = found.as_ref().map(|verdict| verdict.assurance);
                assert!(level.is_none_or(|level| level <= honest), "{pointer} as {other} raises the assurance");
                match found {
                    None => drop(refused.insert(path)),
                    Some(_) if is_informational(&path) && may_differ(&expected, &tree, pointer) => {
                        *accepted.entry(path).or_default() += 1;
                    }
                    Some(_) if BOUNDED.contains(&path.as_str()) => {
                        assert!(other.as_u64().is_some_and(|number| number < 1 << 40), "{pointer}: {other}");
                        *accepted.entry(path).or_default() += 1;
                    }
                    Some(_) => {
                        // Leaving out an informational field of an element is a change of that field.
                        let inner = dropped(value, &other).map(|key| format!("{path}.{}", key.replace('-', "_")));
                        assert!(
                            inner.as_ref().is_some_and(|inner| is_informational(inner)),
                            "{pointer} may be {other} in place of {value}"
                        );
                    }
                }
            }
        }
    }
    // A list that is cut off has thousands of ranges, too many to change each.
    let (expected, mut report) = long_list();
    report.changed[0].digest = crate::fixture::digest(9);
    verify(&expected, &report).unwrap();
    accepted.insert("changed[].digest".to_owned(), 1);
    let named = |field: &str| accepted.keys().any(|path| path.starts_with(field));
    for (field, reason) in INFORMATIONAL {
        assert!(named(field) && !reason.is_empty(), "{field} is checked, and need not be in the list");
    }
    for field in BOUNDED {
        assert!(
            refused.contains(field) && named(field),
            "{field} is not bounded: it is checked, or it is informational"
        );
    }
}

/// The variants of the type at a place with a word, from the parser's own mouth.
fn variants(tree: &Value, pointer: &str) -> BTreeSet<String> {
    let mut changed = tree.clone();
    *changed.pointer_mut(pointer).unwrap() = json!("no such word");
    let Err(error) = serde_json::from_value::<Report>(changed) else { return BTreeSet::new() };
    let error = error.to_string();
    if !error.contains("unknown variant") {
        return BTreeSet::new();
    }
    quoted(&error).into_iter().skip(1).map(str::to_owned).collect()
}

/// The key that `other` lacks of `value`.
fn dropped<'value>(value: &'value Value, other: &Value) -> Option<&'value String> {
    value.as_object()?.keys().find(|key| other.get(key.as_str()).is_none())
}

#[test]
fn the_reference_page_has_the_list() {
    let page = include_str!("../../../../docs/reference/report.md");
    let listed: Vec<String> = INFORMATIONAL.iter().map(|(field, reason)| format!("| `{field}` | {reason} |")).collect();
    let found: Vec<&str> = page
        .lines()
        .skip_while(|line| *line != "| field | why |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(found, listed);
}
