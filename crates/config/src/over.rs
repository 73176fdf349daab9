//! One tree laid over another: maps by key, scalars and lists whole, an empty value not at all; and what tags say of it.
//! Must not know any key, nor which documents there are.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    hash::{Hash, Hasher},
};

use crate::{
    emit,
    error::ConfigError,
    source::{Form, LayerKind, Origin},
    tree::{Entry, Erases, FEW, Node, Replaced, Value, child_path},
};

/// `later` laid over `earlier`, both at `path`. What a lock forbids is reported and left out.
pub(crate) fn over(earlier: Node, mut later: Node, path: &str, errors: &mut Vec<ConfigError>) -> Node {
    if later.states_nothing() {
        return earlier;
    }
    if earlier.states_nothing() {
        return Node { secret: earlier.secret || later.secret, ..later };
    }
    let both_maps = matches!((&earlier.value, &later.value), (Value::Map(_), Value::Map(_)));
    if later.implied && !both_maps {
        // There is nothing below a scalar, a list or a reset that could be forgotten; that it is secret holds all the same.
        return Node { secret: earlier.secret || later.secret, ..earlier };
    }
    if let Some(lock) = broken_lock(&earlier, &later) {
        errors.extend(lock.error(&later, path));
        return earlier;
    }
    later.secret |= earlier.secret;
    if earlier.is_reset() {
        return over_reset(earlier, later);
    }
    if both_maps && later.erases == Erases::Nothing {
        return over_map(earlier, later, path, errors);
    }
    if later.extends.is_some() {
        return over_list(earlier, later, path, errors);
    }
    if matches!(later.value, Value::Map(_)) && later.erases == Erases::Nothing {
        // Without this mark, the result would depend on which two of three documents were merged first.
        later.erases = Erases::Everything;
    }
    hide(&mut later, earlier);
    later
}

/// What comes after a reset stands alone, but for the defaults.
fn over_reset(earlier: Node, mut later: Node) -> Node {
    later.extends = None;
    if matches!(later.value, Value::Map(_)) && later.erases == Erases::Nothing {
        later.erases = Erases::Inherited;
    }
    add(&mut later.hidden, earlier.hidden);
    later
}

fn over_map(earlier: Node, mut later: Node, path: &str, errors: &mut Vec<ConfigError>) -> Node {
    later.erases = earlier.erases;
    later.implied &= earlier.implied;
    later.locked = later.locked.or(earlier.locked);
    add(&mut later.hidden, earlier.hidden);
    if let (Value::Map(below), Value::Map(entries)) = (earlier.value, &mut later.value) {
        *entries = merge_entries(below, std::mem::take(entries), path, errors);
    }
    later
}

fn merge_entries(earlier: Vec<Entry>, later: Vec<Entry>, path: &str, errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    if earlier.is_empty() {
        return later;
    }
    let places = places(&earlier, &later);
    let mut merged = earlier;
    for (entry, place) in later.into_iter().zip(places) {
        match place.and_then(|place| merged.get_mut(place)) {
            Some(below) => merge_entry(below, entry, path, errors),
            None => merged.push(entry),
        }
    }
    merged
}

/// For each of `later`, the place of the same key in `earlier`.
fn places(earlier: &[Entry], later: &[Entry]) -> Vec<Option<usize>> {
    if later.len() <= FEW {
        let place = |wanted: &Entry| {
            let wanted = wanted.key.as_text();
            earlier.iter().position(|entry| entry.key.as_text() == wanted)
        };
        return later.iter().map(place).collect();
    }
    let places: HashMap<Cow<'_, str>, usize> =
        earlier.iter().enumerate().map(|(place, entry)| (entry.key.as_text(), place)).collect();
    later.iter().map(|entry| places.get(&entry.key.as_text()).copied()).collect()
}

fn merge_entry(below: &mut Entry, later: Entry, path: &str, errors: &mut Vec<ConfigError>) {
    let path = child_path(path, &later.key.as_text());
    let states = !later.value.states_nothing();
    let placeholder = Node::reset(&later.value.source, later.mark);
    let earlier = std::mem::replace(&mut below.value, placeholder);
    below.value = over(earlier, later.value, &path, errors);
    if states {
        below.key = later.key;
        below.written = later.written;
        below.mark = later.mark;
    }
}

/// A list with the items of another one before and after its own.
fn over_list(earlier: Node, mut later: Node, path: &str, errors: &mut Vec<ConfigError>) -> Node {
    if earlier.implied {
        add(&mut later.hidden, earlier.hidden);
        return later;
    }
    let Value::List(inherited) = earlier.value else {
        let message = format!("cannot extend {}, set by {}", earlier.kind(), earlier.origin());
        let error = ConfigError::new(&later.source, later.mark, path, message);
        errors.push(error.allowed("a list to extend").suggestion(Some("leave the tag out to replace it".to_owned())));
        return later;
    };
    if let (Value::List(items), Some(front)) = (&mut later.value, later.extends) {
        let back = items.split_off(front.min(items.len()));
        later.extends = earlier.extends.map(|inner| front + inner);
        items.extend(inherited);
        items.extend(back);
    }
    add(&mut later.hidden, earlier.hidden);
    later
}

/// A lock of an earlier value, and the place of a later one that it forbids.
struct Broken<'tree> {
    lock: &'tree Origin,
    below: String,
    place: Option<(&'tree Node, String)>,
}

impl Broken<'_> {
    fn error(&self, later: &Node, path: &str) -> Option<ConfigError> {
        let locked = join(path, &self.below);
        let (node, at) = match &self.place {
            Some((node, below)) => (*node, join(path, below)),
            None => (later, locked.clone()),
        };
        let what = if at == locked { String::new() } else { format!(" of `{locked}`") };
        let message = format!("the value{what} is final, locked by {}", self.lock);
        Some(ConfigError::new(&node.source, node.mark, &at, message))
    }
}

/// The lock that `later` breaks when it is laid over `earlier`: on `earlier`, or below it if that is replaced. Laid
/// over itself, a locked value changes nothing.
fn broken_lock<'tree>(earlier: &'tree Node, later: &'tree Node) -> Option<Broken<'tree>> {
    let merges =
        matches!((&earlier.value, &later.value), (Value::Map(_), Value::Map(_))) && later.erases == Erases::Nothing;
    if let Some(lock) = earlier.locked.as_deref().filter(|lock| later.locked.as_deref() != Some(*lock)) {
        let place = if merges { Some(first_statement(later, "")?) } else { None };
        return Some(Broken { lock, below: String::new(), place });
    }
    if merges || earlier.locked.is_some() {
        return None;
    }
    let (lock, below) = first_lock(earlier, "", Some(later))?;
    Some(Broken { lock, below, place: None })
}

/// The first place where `node` states something.
fn first_statement<'tree>(node: &'tree Node, path: &str) -> Option<(&'tree Node, String)> {
    match &node.value {
        _ if node.states_nothing() => None,
        Value::Map(entries) if node.erases == Erases::Nothing => {
            entries.iter().find_map(|entry| first_statement(&entry.value, &child_path(path, &entry.key.as_text())))
        }
        _ => Some((node, path.to_owned())),
    }
}

/// The first lock below `node` that `later` does not carry as well.
fn first_lock<'tree>(node: &'tree Node, path: &str, later: Option<&Node>) -> Option<(&'tree Origin, String)> {
    node.entries().iter().find_map(|entry| {
        let path = child_path(path, &entry.key.as_text());
        let same = later.and_then(|later| later.entry(&entry.key.as_text())).map(|entry| &entry.value);
        match entry.value.locked.as_deref() {
            Some(lock) if same.and_then(|same| same.locked.as_deref()) != Some(lock) => Some((lock, path)),
            _ => first_lock(&entry.value, &path, same),
        }
    })
}

/// Adds `earlier` and what it hid to what `later` hides. A value does not hide itself.
fn hide(later: &mut Node, earlier: Node) {
    let mut found = Vec::new();
    collect(earlier, "", false, &mut found);
    let mut own = BTreeMap::new();
    leaves(later, "", &mut own);
    found.retain(|replaced| !own.get(&replaced.path).is_some_and(|leaf| is_same(&replaced.node, leaf)));
    add(&mut later.hidden, found);
}

/// Every leaf of `node` by its path below.
fn leaves<'tree>(node: &'tree Node, path: &str, found: &mut BTreeMap<String, &'tree Node>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                leaves(&entry.value, &child_path(path, &entry.key.as_text()), found);
            }
        }
        _ => {
            found.insert(path.to_owned(), node);
        }
    }
}

/// Whether two nodes are one value from one place.
fn is_same(one: &Node, two: &Node) -> bool {
    place(one) == place(two) && emit::flow(&one.value) == emit::flow(&two.value)
}

/// The origin of a node without a copy of it; first what differs most often.
fn place(node: &Node) -> (Option<(usize, usize)>, LayerKind, Form, &str) {
    let source = &*node.source;
    let mark = (source.form == Form::Text).then_some((node.mark.line, node.mark.column));
    (mark, source.layer, source.form, &source.name)
}

/// Adds what is not there yet.
pub(crate) fn add(hidden: &mut Vec<Replaced>, more: Vec<Replaced>) {
    if hidden.len() + more.len() <= FEW {
        for one in more {
            if hidden.iter().all(|other| Identity(other) != Identity(&one)) {
                hidden.push(one);
            }
        }
        return;
    }
    let mut seen: HashSet<Identity<'_>> = hidden.iter().map(Identity).collect();
    let new: Vec<bool> = more.iter().map(|one| seen.insert(Identity(one))).collect();
    hidden.extend(more.into_iter().zip(new).filter_map(|(one, new)| new.then_some(one)));
}

/// What makes one hidden value another one than the next: its origin, its path and, only looked at when these are the
/// same, its value.
struct Identity<'tree>(&'tree Replaced);

impl Hash for Identity<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (place(&self.0.node).0, &self.0.path).hash(state);
    }
}

impl PartialEq for Identity<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.path == other.0.path && is_same(&self.0.node, &other.0.node)
    }
}

impl Eq for Identity<'_> {}

/// Every leaf of `node`, and every value that it or one of its maps hid, with its path below `node`. What is secret
/// stays so.
fn collect(mut node: Node, path: &str, secret: bool, found: &mut Vec<Replaced>) {
    node.secret |= secret;
    let secret = node.secret;
    let hidden = std::mem::take(&mut node.hidden);
    match node.value {
        Value::Map(entries) => {
            for entry in entries {
                collect(entry.value, &child_path(path, &entry.key.as_text()), secret, found);
            }
        }
        _ if node.is_null() => {}
        _ => found.push(kept(path.to_owned(), node)),
    }
    found.extend(hidden.into_iter().map(|mut one| {
        one.node.secret |= secret;
        Replaced { path: join(path, &one.path), ..one }
    }));
}

fn join(path: &str, below: &str) -> String {
    if path.is_empty() || below.is_empty() { format!("{path}{below}") } else { format!("{path}.{below}") }
}

/// A value as it is kept when another one replaces it.
pub(crate) fn kept(path: String, node: Node) -> Replaced {
    let node =
        Node { hidden: Vec::new(), erases: Erases::Nothing, implied: false, extends: None, locked: None, ..node };
    Replaced { path, node }
}
