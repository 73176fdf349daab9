//! Variables of the environment as a document. Must not read the environment.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Document,
    error::{ConfigError, ConfigErrors},
    grammar::ROOT,
    limits::MAX_DOCUMENT,
    over::over,
    paths::{check_keys, whole, wrap},
    set::value,
    source::{Form, LayerKind, Mark, Source, shown},
    tree::{Node, Value},
};

/// What a variable's name begins with.
const PREFIX: &str = "CLOUD_MACHINE__";

/// The document of all `variables` whose name begins with `CLOUD_MACHINE__`; every other one is passed over.
///
/// After the prefix, the name is the path of a key below `cloud-machine`: `__` stands between two keys, `_` for `-`, and
/// letters count as lower-case, so `CLOUD_MACHINE__RESOURCES__DISKS__MY_DISK__WIPE_ON_BOOT` is
/// `resources.disks.my-disk.wipe-on-boot`. All keys of ours and all names of disks can be written so; cloud-init's
/// keys, which have `_` in them, cannot: `--set` and files set those. The value is read as that of [`crate::set`].
/// Of two variables of which one is the path to the other, the longer one wins.
///
/// # Errors
/// A name with an empty key, two names for one key, a value that is no scalar or flow collection, more than
/// [`MAX_DOCUMENT`] bytes of values; each names its variable.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Result<Document, ConfigErrors> {
    let mut sources: BTreeMap<Vec<String>, Arc<Source>> = BTreeMap::new();
    let mut bytes = 0_usize;
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let source = Source::new(LayerKind::Environment, &name, &text, Form::Variable);
        bytes = bytes.saturating_add(name.len()).saturating_add(text.len());
        if bytes > MAX_DOCUMENT {
            let error = ConfigError::new(&source, Mark::START, "", "the variables are too long together");
            return Err(error.allowed(format!("at most {MAX_DOCUMENT} bytes")).into());
        }
        let keys = keys(&source, path)?;
        if let Some(other) = sources.get(&keys) {
            let message = format!("the variable `{}` means the same key", shown(&other.name));
            return Err(ConfigError::new(&source, Mark::START, "", message).into());
        }
        sources.insert(keys, source);
    }
    let source = Source::new(LayerKind::Environment, "environment", "", Form::Variable);
    let mut root = Node::new(&source, Mark::START, Value::Map(Vec::new()));
    let mut errors = Vec::new();
    for (keys, source) in &sources {
        let later = wrap(source, keys, value(source, &source.text, keys)?);
        root = over(root, later, "", &mut errors);
    }
    ConfigErrors::check(errors)?;
    root.imply();
    Ok(Document::new(LayerKind::Environment, root))
}

fn keys(source: &Arc<Source>, path: &str) -> Result<Vec<String>, ConfigErrors> {
    let key = |part: &str| part.to_lowercase().replace('_', "-");
    let keys: Vec<String> = std::iter::once(ROOT.to_owned()).chain(path.split("__").map(key)).collect();
    if keys.iter().any(String::is_empty) {
        let error = ConfigError::new(source, whole(&source.text), "", "a key in the variable's name is empty");
        return Err(error.allowed(format!("{PREFIX}KEY__KEY")).into());
    }
    check_keys(source, whole(&source.text), &keys)?;
    Ok(keys)
}
