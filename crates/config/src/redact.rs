//! The merged configuration with every secret made unreadable. Must not decide what a secret is, nor hold a key.

use crate::{
    Merged, access, emit, key_path,
    scalar::{Scalar, Written},
    secret::Secrecy,
    source::{Form, Source},
    tree::{Entry, Node, Value},
    url::is_address_key,
};

impl Merged {
    /// The same configuration with each secret scalar, in values and in what they hide, replaced by the text that
    /// `replace` makes of it, such as `[redacted 1a2b3c4d]`. Its argument is the scalar as YAML: `4` and `"4"` differ.
    /// Of an address that is secret only for what gives access in it, the rest stays before that text.
    ///
    /// Origins are kept; of an argument `--set password=x` only the key stays in them.
    #[must_use]
    pub fn redacted(&self, replace: &dyn Fn(&str) -> String) -> Self {
        Self::new(redacted(self.root(), Secrecy::default(), replace))
    }

    /// The same configuration as it lies on a volume that stays attached while the machine's own system runs: the
    /// address of `cloud-init-url`, in what holds and in what that hides, is without what gives access.
    #[must_use]
    pub fn without_access(&self) -> Self {
        Self::new(without_access(self.root(), &mut Vec::new()))
    }
}

pub(crate) fn redacted(node: &Node, around: Secrecy, replace: &dyn Fn(&str) -> String) -> Node {
    let secrecy = around.marked(node.secret);
    let mut result = node.clone();
    if secrecy.hides(node) {
        conceal_argument(&mut result);
    }
    result.value = match &node.value {
        Value::Scalar(scalar) if secrecy.hides_scalar(scalar) => {
            result.written = Written::Quoted;
            let mark = replace(&emit::flow(&node.value));
            let address = if secrecy.is_told() { None } else { access::address(&scalar.as_text()) };
            Value::Scalar(Scalar::Text(match address {
                Some(address) => format!("{address} {mark}").trim_end().to_owned(),
                None => mark,
            }))
        }
        Value::Scalar(scalar) => Value::Scalar(scalar.clone()),
        Value::List(items) => Value::List(items.iter().map(|item| redacted(item, secrecy, replace)).collect()),
        Value::Map(entries) => {
            let below = |entry: &Entry| Entry {
                value: redacted(&entry.value, secrecy.below(&entry.key.text()), replace),
                ..entry.clone()
            };
            Value::Map(entries.iter().map(below).collect())
        }
    };
    for hidden in &mut result.hidden {
        hidden.node = redacted(&hidden.node, secrecy.along(&hidden.path), replace);
    }
    result
}

/// `node`, to which `keys` lead from the root.
fn without_access(node: &Node, keys: &mut Vec<String>) -> Node {
    let mut result = node.clone();
    result.value = match &node.value {
        Value::Scalar(Scalar::Text(text)) if is_address_key(keys) && access::gives_access(text) => {
            conceal_argument(&mut result);
            result.written = Written::Quoted;
            // What is no address has no part that could stay; it was refused where it counted.
            Value::Scalar(Scalar::Text(access::address(text).map(|url| url.redacted()).unwrap_or_default()))
        }
        Value::Scalar(scalar) => Value::Scalar(scalar.clone()),
        Value::List(items) => Value::List(items.iter().map(|item| without_access(item, keys)).collect()),
        Value::Map(entries) => {
            let mut below = |entry: &Entry| {
                keys.push(entry.key.text());
                let value = without_access(&entry.value, keys);
                keys.pop();
                Entry { value, ..entry.clone() }
            };
            Value::Map(entries.iter().map(&mut below).collect())
        }
    };
    for hidden in &mut result.hidden {
        let mut path = keys.clone();
        path.extend(key_path::parse(&hidden.path).unwrap_or_default());
        hidden.node = without_access(&hidden.node, &mut path);
    }
    result
}

/// The name of an argument contains its value.
fn conceal_argument(node: &mut Node) {
    if let (Form::Argument(_), Some((key, _))) = (node.source.form, node.source.name.split_once('=')) {
        node.source = Source::new(node.source.layer, &format!("{key}=…"), "", node.source.form);
    }
}
