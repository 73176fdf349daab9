//! Which module of a target names what of which other one. What a name stands for decides, not where it is offered: a
//! re-export is followed to the module that it leads to.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::{
    graph::Graph,
    modules::{ModulePath, Modules},
};

/// Names joined by `::`.
type Path = Vec<String>;

/// One name that a `use` brings.
struct Import {
    name: String,
    path: Path,
    public: bool,
}

/// What a module names.
#[derive(Default)]
struct Named {
    imports: Vec<Import>,
    paths: BTreeSet<Path>,
}

/// The graph of a target.
pub(crate) fn graph(modules: &Modules) -> Graph {
    let named: BTreeMap<&ModulePath, Named> =
        modules.0.iter().map(|(path, module)| (path, named(&module.tokens))).collect();
    let resolver = Resolver { modules, named: &named };
    let mut graph = Graph::new();
    for (scope, named) in &named {
        for path in used(scope, named, &resolver) {
            let Some((target, item)) = resolver.absolute(scope, &path).and_then(|path| resolver.found(&path)) else {
                continue;
            };
            let (from, to) = (&modules.0[*scope].file, &modules.0[&target].file);
            // The types, traits and constants of a module are the words that its parts share.
            let shared = from.starts_with(to) && item.is_some_and(|item| item.starts_with(char::is_uppercase));
            if from != to && !shared {
                graph.entry(shown(from)).or_default().entry(shown(to)).or_default().insert(path.join("::"));
            }
        }
    }
    graph
}

/// The paths by which a module uses something: not those by which it only offers what its own children have.
fn used(scope: &ModulePath, named: &Named, resolver: &Resolver<'_>) -> Vec<Path> {
    let mut used: Vec<Path> = named.paths.iter().cloned().collect();
    for import in &named.imports {
        let below = resolver.absolute(scope, &import.path).is_some_and(|path| path.starts_with(scope));
        let offered = import.public && below;
        if !offered || named.paths.iter().any(|path| path[0] == import.name) {
            used.push(import.path.clone());
        }
    }
    used
}

struct Resolver<'a> {
    modules: &'a Modules,
    named: &'a BTreeMap<&'a ModulePath, Named>,
}

impl Resolver<'_> {
    /// `path`, as the module `scope` says it, from the root; `None` for what is of another crate or of the module's own.
    fn absolute(&self, scope: &ModulePath, path: &[String]) -> Option<Path> {
        let mut base = scope.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &path[1..];
            }
            "self" if path.len() > 1 => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                self.modules.0.contains_key(&base).then_some(())?;
                rest = &path[1..];
            }
        }
        Some(base.into_iter().chain(rest.iter().cloned()).collect())
    }

    /// The module that has what `path`, from the root, stands for, and what that is, unless it is the module itself.
    fn found(&self, path: &[String]) -> Option<(ModulePath, Option<String>)> {
        let mut module = ModulePath::new();
        for (depth, name) in path.iter().enumerate() {
            module.push(name.clone());
            if self.modules.0.contains_key(&module) {
                continue;
            }
            module.pop();
            let offered = self.named[&module].imports.iter().find(|import| import.public && import.name == *name);
            return match offered.and_then(|import| self.absolute(&module, &import.path)) {
                Some(target) => {
                    let target: Path = target.into_iter().chain(path[depth + 1..].iter().cloned()).collect();
                    self.found(&target)
                }
                None => Some((module, Some(name.clone()))),
            };
        }
        Some((module, None))
    }
}

fn shown(path: &ModulePath) -> String {
    if path.is_empty() { "the root".to_owned() } else { path.join("::") }
}

fn named(tokens: &[TokenTree]) -> Named {
    let mut named = Named::default();
    collect(tokens, &mut named);
    named
}

fn collect(tokens: &[TokenTree], named: &mut Named) {
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        match token {
            TokenTree::Ident(word) if word == "use" && !is(tokens.get(next + 1), '<') => {
                let end = (next..tokens.len()).find(|&at| is(tokens.get(at), ';')).unwrap_or(tokens.len());
                let public = is_public(&tokens[..next]);
                let tree = tree(&tokens[next + 1..end], &[]);
                named.imports.extend(tree.into_iter().map(|(path, name)| Import { name, path, public }));
                next = end;
            }
            // The range of `pub(crate)` or `pub(super)` uses nothing.
            TokenTree::Ident(word) if word == "pub" && matches!(tokens.get(next + 1), Some(TokenTree::Group(_))) => {
                next += 2;
            }
            TokenTree::Ident(_) => {
                let (path, end) = path(tokens, next);
                // After a dot there is a field or a method, and before a colon the name of a field.
                let method = next > 0 && is(tokens.get(next - 1), '.');
                let field = path.len() == 1 && is(tokens.get(end), ':') && !is_separator(tokens, end);
                if !method && !field {
                    named.paths.insert(path);
                }
                next = end;
            }
            TokenTree::Group(group) => {
                collect(&listed(group.stream()), named);
                next += 1;
            }
            // What follows `::` belongs to something that is no path of names, such as `<T as Trait>::NAME`.
            _ if is_separator(tokens, next) => {
                next = path(tokens, next + 2).1.max(next + 2);
            }
            _ => next += 1,
        }
    }
}

/// The names joined by `::` from `at` on, and where they end.
fn path(tokens: &[TokenTree], mut at: usize) -> (Path, usize) {
    let mut path = Path::new();
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        path.push(name.to_string());
        at += 1;
        if !(is_separator(tokens, at) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// The paths of what stands after `use`, each with the name that it brings.
fn tree(tokens: &[TokenTree], before: &[String]) -> Vec<(Path, String)> {
    let (own, end) = path(tokens, 0);
    let mut whole: Path = before.iter().cloned().chain(own).collect();
    let rest = if is_separator(tokens, end) { &tokens[end + 2..] } else { &tokens[end..] };
    match rest.first() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => listed(group.stream())
            .split(|token| is(Some(token), ','))
            .filter(|part| !part.is_empty())
            .flat_map(|part| tree(part, &whole))
            .collect(),
        renamed => {
            if whole.len() > 1 && whole.last().is_some_and(|name| name == "self") {
                whole.pop();
            }
            let alias = match (renamed, rest.get(1)) {
                (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(alias))) if word == "as" => {
                    Some(alias.to_string())
                }
                _ => None,
            };
            let name = alias.or_else(|| whole.last().cloned()).unwrap_or_default();
            vec![(whole, name)]
        }
    }
}

fn listed(stream: TokenStream) -> Vec<TokenTree> {
    stream.into_iter().collect()
}

fn is(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is(tokens.get(at), ':') && is(tokens.get(at + 1), ':')
}

/// Whether what stands before a `use` makes it public in some range: `pub`, `pub(crate)`.
fn is_public(before: &[TokenTree]) -> bool {
    let before = match before {
        [rest @ .., TokenTree::Group(range)] if range.delimiter() == Delimiter::Parenthesis => rest,
        all => all,
    };
    matches!(before.last(), Some(TokenTree::Ident(word)) if word == "pub")
}
