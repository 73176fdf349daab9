//! The shape of the tree below `cloud-machine` against the grammar: unknown keys, maps where a value
//! belongs. Must not type a scalar.

use crate::{
    access, emit,
    error::ConfigError,
    grammar::{self, BOOLEAN, Key, Named, Shape, names, nearest},
    partition_type,
    scalar::{Scalar, Written},
    secret::SWARM_TOKEN,
    source::shortened,
    tree::{Entry, Node, Value, child_path},
};

/// What is right in `node`, for serde; what is wrong goes to `errors`. Empty values count as absent.
pub(crate) fn shape(
    node: &Node,
    shape: &Shape,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<serde_yaml::Value> {
    if node.is_null() {
        return None;
    }
    if holds_bytes(node) {
        let error = ConfigError::new(&node.source, node.mark, path, "the tag `!!binary` means nothing below our keys");
        errors.push(error.allowed(shape.allowed()));
        return None;
    }
    match (shape, &node.value) {
        (Shape::Scalar(_) | Shape::Words(_) | Shape::Either(..), Value::Scalar(_)) => Some(node.to_value()),
        (Shape::List(_) | Shape::Words(_), Value::List(_)) => Some(node.to_value()),
        (Shape::Map(keys) | Shape::Either(_, keys), Value::Map(entries)) => Some(map(entries, keys, path, errors)),
        (Shape::Named(what, keys), Value::Map(entries)) => Some(named(*what, entries, keys, path, errors)),
        (Shape::Scalar(allowed) | Shape::List(allowed) | Shape::Words(allowed) | Shape::Either(allowed, _), _) => {
            errors.push(invalid(node, path, allowed));
            None
        }
        (Shape::Map(keys), _) => {
            errors.push(invalid(node, path, &format!("a map with the keys {}", names(keys))));
            None
        }
        (Shape::Named(what, _), _) => {
            errors.push(invalid(node, path, what.allowed()));
            None
        }
        (Shape::Program, Value::Map(_)) => Some(node.to_value()),
        (Shape::Program, _) => {
            errors.push(invalid(node, path, "a map"));
            None
        }
    }
}

/// Whether it is bytes, or a list with some: maps are looked into key by key.
pub(crate) fn holds_bytes(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.iter().any(holds_bytes),
        _ => node.written == Written::Binary,
    }
}

fn map(entries: &[Entry], keys: &[Key], path: &str, errors: &mut Vec<ConfigError>) -> serde_yaml::Value {
    let mut pairs = serde_yaml::Mapping::new();
    for entry in entries {
        let name = entry.key.text();
        let below = child_path(path, &name);
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            errors.push(unknown(entry, &below, keys));
            continue;
        };
        if let Some(value) = shape(&entry.value, &key.shape, &below, errors) {
            pairs.insert(name.into(), value);
        }
    }
    serde_yaml::Value::Mapping(pairs)
}

/// A map with a name for each key.
fn named(
    of: Named,
    entries: &[Entry],
    keys: &'static [Key],
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> serde_yaml::Value {
    let mut pairs = serde_yaml::Mapping::new();
    let what = of.noun();
    for entry in entries {
        let name = entry.key.text();
        let below = child_path(path, &name);
        if let Some(raw) = entry.written.raw(&entry.key).filter(|raw| *raw != name) {
            // `0x10` would be a disk called 16.
            let message = format!("the {what} name `{}` is a number", shortened(raw));
            let error = ConfigError::new(&entry.value.source, entry.mark, &below, message);
            errors.push(error.suggestion(Some(format!("write `\"{}\"`, in quotes, for the text", shortened(raw)))));
        } else if let Err(error) = of.judge(&name) {
            let message = format!("invalid {what} name `{}`", shortened(&name));
            errors.push(ConfigError::new(&entry.value.source, entry.mark, &below, message).allowed(error.allowed));
        } else if entry.value.is_null() {
            let message = format!("the {what} `{name}` has no value, which states nothing");
            let error = ConfigError::new(&entry.value.source, entry.mark, &below, message);
            let form = if of == Named::Interface { "{network: {bridge: NAME}}" } else { "{}" };
            errors.push(error.suggestion(Some(format!("write `{name}: {form}` to declare it"))));
        } else if let Some(value) = shape(&entry.value, &Shape::Map(keys), &below, errors) {
            pairs.insert(name.into(), value);
        }
    }
    serde_yaml::Value::Mapping(pairs)
}

fn unknown(entry: &Entry, path: &str, keys: &[Key]) -> ConfigError {
    let name = entry.key.text();
    let message = format!("unknown key `{}`", shortened(&name));
    ConfigError::new(&entry.value.source, entry.mark, path, message).allowed(names(keys)).suggestion(
        of_nic_alone(path, &name).or_else(|| nearest(&name, keys).map(|near| format!("did you mean `{near}`?"))),
    )
}

/// What only the interface has by which the machine is reached.
fn of_nic_alone(path: &str, name: &str) -> Option<String> {
    let alone = ["gateways", "dns", "search", "host-access"].contains(&name);
    let within = path.contains(".nics.") && alone;
    within.then(|| "the way out, servers of names and access to the host are those of `resources.nic` alone".to_owned())
}

/// A value that is not one of those `allowed`.
pub(crate) fn invalid(node: &Node, path: &str, allowed: &str) -> ConfigError {
    let message = match &node.value {
        Value::Scalar(Scalar::Text(text)) if access::gives_access(text) || text.contains(SWARM_TOKEN) => {
            "invalid value, a text that is not shown, since it may hold a secret".to_owned()
        }
        // As it was written: `1.10` is the number 1.1, and `0x10` is 16.
        Value::Scalar(_) => {
            let written = not_text(node).map_or_else(|| emit::flow(&node.value), str::to_owned);
            format!("invalid value `{}`, {}", shortened(&written), node.kind())
        }
        Value::List(items) => match items.iter().find_map(|item| Some((item, not_text(item)?))) {
            Some((item, raw)) => format!("found a list with `{}`, {}", shortened(raw), item.kind()),
            None => format!("found {}", node.kind()),
        },
        Value::Map(_) => format!("found {}", node.kind()),
    };
    ConfigError::new(&node.source, node.mark, path, message).allowed(allowed).suggestion(advice(node, path, allowed))
}

/// What was written without quotes for a scalar that is no text.
fn not_text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(Scalar::Text(_)) | Value::List(_) | Value::Map(_) => None,
        Value::Scalar(scalar) => node.written.raw(scalar),
    }
}

fn advice(node: &Node, path: &str, allowed: &str) -> Option<String> {
    let in_quotes = |raw: &str| format!("write `\"{}\"`, in quotes, for the text", shortened(raw));
    // All our lists are of texts.
    let scalar = match &node.value {
        Value::Scalar(scalar) => scalar,
        Value::List(items) => return items.iter().find_map(not_text).map(in_quotes),
        Value::Map(_) => return None,
    };
    if let Some(raw) = not_text(node).filter(|_| grammar::takes_text(allowed) || path.ends_with(']')) {
        return Some(in_quotes(raw));
    }
    let text = scalar.text();
    if allowed.starts_with(BOOLEAN) {
        return match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" | "1" => Some("write `true`".to_owned()),
            "no" | "off" | "n" | "false" | "0" => Some("write `false`".to_owned()),
            _ => None,
        };
    }
    if allowed == partition_type::ALLOWED {
        return partition_type::nearest(&text).map(|near| format!("did you mean `{near}`?"));
    }
    None
}
