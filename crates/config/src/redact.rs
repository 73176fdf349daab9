//! The merged configuration with every secret made unreadable. Must not decide what a secret is, nor hold a key.

use crate::{
    Merged, emit,
    scalar::{Scalar, Written},
    secret::Secrecy,
    source::{Form, Source},
    tree::{Node, Value},
};

impl Merged {
    /// The same configuration with each secret scalar, in values and in what they hide, replaced by the text that
    /// `replace` makes of it, such as `[redacted 1a2b3c4d]`. Its argument is the scalar as YAML: `4` and `"4"` differ.
    ///
    /// Origins are kept; of an argument `--set password=x` only the key stays in them.
    #[must_use]
    pub fn redacted(&self, replace: &dyn Fn(&str) -> String) -> Self {
        Self::new(redacted(self.root(), Secrecy::default(), replace))
    }
}

fn redacted(node: &Node, around: Secrecy, replace: &dyn Fn(&str) -> String) -> Node {
    let secrecy = around.marked(node.secret);
    let mut result = node.clone();
    if secrecy.hides(node) {
        conceal_argument(&mut result);
    }
    result.value = match &node.value {
        Value::Scalar(scalar) if secrecy.hides_scalar(scalar) => {
            result.written = Written::Quoted;
            Value::Scalar(Scalar::Text(replace(&emit::flow(&node.value))))
        }
        Value::Scalar(scalar) => Value::Scalar(scalar.clone()),
        Value::List(items) => Value::List(items.iter().map(|item| redacted(item, secrecy, replace)).collect()),
        Value::Map(entries) => {
            let below = |entry: &crate::tree::Entry| crate::tree::Entry {
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

/// The name of an argument contains its value.
fn conceal_argument(node: &mut Node) {
    if let (Form::Argument(_), Some((key, _))) = (node.source.form, node.source.name.split_once('=')) {
        node.source = Source::new(node.source.layer, &format!("{key}=…"), "", node.source.form);
    }
}
