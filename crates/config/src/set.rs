//! Documents that are no text of their own: one assignment from the command line, and the built-in defaults. Must
//! not read the command line.

use std::sync::Arc;

use crate::{
    document::Document,
    error::{ConfigError, ConfigErrors},
    exclude::excluded,
    foreign,
    grammar::ROOT,
    parse::parse_node,
    paths::{keys, whole, wrap},
    scalar::Scalar,
    secret::is_told_in,
    source::{Form, LayerKind, Mark, Source, shortened},
    tags::Inside,
    tree::{Entry, Node, Value, child_path},
};

/// Driver, when nothing names one.
pub const DEFAULT_DRIVER: &str = "qemu";
/// GiB of memory, when nothing states it.
pub const DEFAULT_RAM: u64 = 1;
/// Processors, when nothing states it.
pub const DEFAULT_CPUS: u32 = 2;

/// The document of one argument `--set a.b=v`; `index` is its place on the command line.
///
/// Keys are split at `.`; one in double quotes may contain it. A path that begins with a key of `cloud-machine`, such as `resources.ram`, is taken
/// below `cloud-machine`. The value is a YAML scalar or flow collection (`4`, `"a: b"`, `[x, y]`, `{a: b}`); an
/// empty one states nothing. Tags may stand before it, as in `--set "runcmd=!append [reboot]"`.
///
/// # Errors
/// No `=`, an empty or too long key, too many keys, a value that is no scalar or flow collection; each names the
/// argument.
pub fn set(index: usize, argument: &str) -> Result<Document, ConfigErrors> {
    let source = Source::new(LayerKind::CommandLine, &name(argument), argument, Form::Argument(index));
    let Some((path, text)) = argument.split_once('=') else {
        let error = ConfigError::new(&source, whole(argument), "", "there is no `=` between key and value");
        return Err(error.allowed("KEY.KEY=VALUE").into());
    };
    let keys = keys(&source, whole(path), path)?;
    // Blanks in place of the path keep the columns of the value those of the argument.
    let blanks = " ".repeat(path.chars().count() + 1);
    let value = value(&source, &format!("{blanks}{text}"), &keys)?;
    document(&source, &keys, value)
}

/// The document of an option that takes a name, such as `--image 22.04`, for the key at `path`: the text as it was typed,
/// which `--set` would take for a number.
///
/// # Errors
/// A `path` that is none.
pub fn named(index: usize, option: &str, path: &str, text: &str) -> Result<Document, ConfigErrors> {
    let name = format!("{option} {}", shortened(text));
    let source = Source::new(LayerKind::CommandLine, &name, text, Form::Argument(index));
    let keys = keys(&source, whole(text), path)?;
    document(&source, &keys, Node::new(&source, whole(text), Value::Scalar(Scalar::Text(text.to_owned()))))
}

/// The document of an option that takes a value of YAML for the key at `path`.
///
/// # Errors
/// A `path` that is none, or those of a value for [`set`].
pub fn stated(index: usize, option: &str, path: &str, text: &str) -> Result<Document, ConfigErrors> {
    let name = format!("{option} {}", shortened(text));
    let source = Source::new(LayerKind::CommandLine, &name, text, Form::Argument(index));
    let keys = keys(&source, whole(text), path)?;
    let value = value(&source, text, &keys)?;
    document(&source, &keys, value)
}

/// The argument as errors and origins name it: they travel further than a secret should.
fn name(argument: &str) -> String {
    match argument.split_once('=') {
        Some((key, _)) if is_told_in(argument) => format!("--set {}=…", shortened(key)),
        _ => format!("--set {}", shortened(argument)),
    }
}

/// The scalar or flow collection in `text`, which will lie below `keys`.
pub(crate) fn value(source: &Arc<Source>, text: &str, keys: &[String]) -> Result<Node, ConfigErrors> {
    let value = parse_node(source, text, Inside::Map, keys.len())?;
    let value = value.unwrap_or_else(|| Node::new(source, whole(text), Value::Scalar(Scalar::Null)));
    let start = text.chars().nth(value.mark.column - 1);
    if !matches!(value.value, Value::Scalar(_)) && !matches!(start, Some('{' | '[')) {
        let path = keys.iter().fold(String::new(), |path, key| child_path(&path, key));
        let error = ConfigError::new(source, value.mark, &path, "the value is a block of YAML");
        let suggestion = "quote a text that contains `: `, or write `{key: value}` or `[item, item]`";
        return Err(error.allowed("a scalar or a flow collection").suggestion(Some(suggestion.to_owned())).into());
    }
    Ok(value)
}

fn document(source: &Arc<Source>, keys: &[String], value: Node) -> Result<Document, ConfigErrors> {
    let root = wrap(source, keys, value);
    foreign::merging(source, &root)?;
    let root = excluded(source, root)?;
    Ok(Document::new(LayerKind::CommandLine, root))
}

/// The document of one argument `--unset a.b`: what was inherited there is forgotten.
///
/// # Errors
/// The path, as for [`set`].
pub fn unset(index: usize, argument: &str) -> Result<Document, ConfigErrors> {
    let name = format!("--unset {}", shortened(argument));
    let source = Source::new(LayerKind::CommandLine, &name, argument, Form::Argument(index));
    let keys = keys(&source, whole(argument), argument)?;
    document(&source, &keys, Node::reset(&source, whole(argument)))
}

/// What holds when no document says otherwise: the driver, memory and processors.
///
/// The default disk is not here: a disk of this layer would stay beside every disk that a user declares, since
/// maps merge by key. [`crate::validate`] adds it when no disk is declared.
#[must_use]
pub fn defaults() -> Document {
    let source = Source::new(LayerKind::Defaults, "built-in", "", Form::BuiltIn);
    let map = |entries: Vec<(&str, Value)>| {
        let entry = |(key, value): (&str, Value)| Entry::new(key, Mark::START, Node::new(&source, Mark::START, value));
        Value::Map(entries.into_iter().map(entry).collect())
    };
    let integer = |value: u64| Value::Scalar(value.into());
    let resources = map(vec![("ram", integer(DEFAULT_RAM)), ("cpus", integer(DEFAULT_CPUS.into()))]);
    let driver = Value::Scalar(Scalar::Text(DEFAULT_DRIVER.to_owned()));
    let machine = map(vec![("driver", driver), ("resources", resources)]);
    Document::new(LayerKind::Defaults, Node::new(&source, Mark::START, map(vec![(ROOT, machine)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge;

    fn yaml(arguments: &[&str]) -> String {
        let documents: Vec<Document> = arguments.iter().enumerate().map(|(i, a)| set(i, a).unwrap()).collect();
        merge(&documents).unwrap().to_yaml()
    }

    #[test]
    fn an_argument_is_a_small_document() {
        assert_eq!(yaml(&["hostname=a=b"]), "hostname: a=b\n");
        assert_eq!(
            yaml(&["resources.ram=4", "cloud-machine.resources.cpus=3"]),
            "cloud-machine:\n  resources:\n    ram: 4\n    cpus: 3\n"
        );
        assert_eq!(yaml(&["a.b=[1, {c: x}]"]), "a:\n  b:\n    - 1\n    - c: x\n");
        assert_eq!(yaml(&["a='1'"]), "a: \"1\"\n");
        assert_eq!(yaml(&["a="]), "a: null\n");
    }

    #[test]
    fn the_origin_is_the_argument() {
        let merged = merge(&[set(3, "resources.ram=4").unwrap()]).unwrap();
        assert_eq!(merged.origins()["cloud-machine.resources.ram"], "argument --set resources.ram=4");
    }

    #[test]
    fn a_secret_is_not_part_of_a_name() {
        let merged = merge(&[set(0, "yum.password=hunter2").unwrap(), set(1, "a=!secret x").unwrap()]).unwrap();
        assert_eq!(merged.origins()["yum.password"], "argument --set yum.password=…");
        assert_eq!(merged.origins()["a"], "argument --set a=…");
    }

    #[test]
    fn errors_name_the_argument_and_the_column() {
        for (argument, message) in [
            ("a.b", "there is no `=` between key and value"),
            ("=1", "a key of the path is empty, too long or not printable"),
            ("a..b=1", "a key of the path is empty, too long or not printable"),
            ("a.<<=1", "a key of the path is empty, too long or not printable"),
            ("a=b: c", "the value is a block of YAML"),
            ("a=- c", "the value is a block of YAML"),
            ("a=*c", "aliases are not supported"),
            ("a=&c 1", "anchors are not supported"),
            ("a=!rest", "unknown tag `!rest`"),
            ("a=!append x", "the tag `!append` extends a list, and this is none"),
            ("\"a=1", "a key of the path is empty, too long or not printable"),
            ("exclude=a", "found a text"),
            ("exclude=[a..b]", "a key of the path is empty, too long or not printable"),
            ("a.b=[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]", "maps and lists are nested too deep"),
            ("a=[1", "while parsing"),
            ("a=1\n---\n2", "a second document begins here"),
            (&format!("{}=1", ["a"; 16].join(".")), "the path has too many keys"),
        ] {
            let errors = set(0, argument).unwrap_err();
            let error = &errors.errors()[0];
            assert!(error.document.starts_with("--set "), "{errors}");
            assert!(error.message.contains(message), "{argument}: {errors}");
        }
        assert_eq!(set(0, "abc=*x").unwrap_err().errors()[0].column, 5);
    }
}
