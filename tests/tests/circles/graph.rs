//! Circles in a graph of modules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// For each module the modules that it needs, each with what it needs of it.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The shortest circles, for people, no module in two of them: one needless `use` closes many, and all are gone with it.
pub(crate) fn circles(graph: &Graph) -> Vec<String> {
    let mut found: Vec<Vec<String>> = graph.keys().filter_map(|start| shortest(graph, start)).collect();
    found.sort_by_key(Vec::len);
    let mut shown = BTreeSet::new();
    found.retain(|circle| {
        let new = circle.iter().all(|module| !shown.contains(module));
        shown.extend(circle.iter().filter(|_| new).cloned());
        new
    });
    found.iter().map(|circle| text(graph, circle)).collect()
}

/// The shortest way from `start` back to it, without its end.
fn shortest(graph: &Graph, start: &String) -> Option<Vec<String>> {
    let mut before: BTreeMap<&String, &String> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(module) = open.pop_front() {
        for next in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let back = std::iter::successors(Some(module), |module| before.get(*module).copied());
                let mut circle: Vec<String> = back.cloned().collect();
                circle.reverse();
                return Some(circle);
            }
            if !before.contains_key(next) {
                before.insert(next, module);
                open.push_back(next);
            }
        }
    }
    None
}

/// `a -> b (what a needs of b) -> a (what b needs of a)`.
fn text(graph: &Graph, circle: &[String]) -> String {
    let mut text = circle[0].clone();
    for (from, to) in circle.iter().zip(circle.iter().cycle().skip(1)) {
        let needed: Vec<&str> = graph[from][to].iter().map(String::as_str).collect();
        text.push_str(&format!(" -> {to} ({})", needed.join(", ")));
    }
    text
}
