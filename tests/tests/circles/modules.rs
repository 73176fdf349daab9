//! The modules of one program or library, by following `mod` from its root file, each with its tokens. What is compiled
//! for tests only is left out: a test may look at whatever it likes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Path of a module below the root, which has the empty one.
pub(crate) type ModulePath = Vec<String>;

/// The modules of one target. An inline module is one of its own, since it may have children and `super` counts from it.
#[derive(Default)]
pub(crate) struct Modules(pub(crate) BTreeMap<ModulePath, Module>);

/// One module.
pub(crate) struct Module {
    /// What it consists of, without its children and without tests.
    pub(crate) tokens: Vec<TokenTree>,
    /// The module whose file it is in: itself, unless it is inline.
    pub(crate) file: ModulePath,
}

/// Where a module is read from.
struct At {
    path: ModulePath,
    file: ModulePath,
    /// Folder of the files of its children.
    folder: PathBuf,
}

impl Modules {
    /// All modules below the root file `root`, such as `src/lib.rs`.
    pub(crate) fn below(root: &Path) -> Self {
        let mut modules = Self::default();
        let folder = root.parent().expect("a file has a folder").to_owned();
        modules.read_file(root, At { path: Vec::new(), file: Vec::new(), folder });
        modules
    }

    fn read_file(&mut self, file: &Path, at: At) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tokens = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read(tokens, at);
    }

    fn read(&mut self, tokens: TokenStream, at: At) {
        let tokens: Vec<TokenTree> = without_tests(tokens).into_iter().collect();
        let mut own = Vec::new();
        let mut next = 0;
        while let Some(token) = tokens.get(next) {
            match (token, tokens.get(next + 1), tokens.get(next + 2)) {
                (TokenTree::Ident(word), Some(TokenTree::Ident(name)), Some(TokenTree::Punct(end)))
                    if word == "mod" && end.as_char() == ';' =>
                {
                    let (file, folder) = found(&at.folder, &name.to_string());
                    let path = child(&at.path, &name.to_string());
                    self.read_file(&file, At { file: path.clone(), path, folder });
                    next += 3;
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name)), Some(TokenTree::Group(body)))
                    if word == "mod" && body.delimiter() == Delimiter::Brace =>
                {
                    let (path, folder) = (child(&at.path, &name.to_string()), at.folder.join(name.to_string()));
                    self.read(body.stream(), At { path, file: at.file.clone(), folder });
                    next += 3;
                }
                _ => {
                    own.push(token.clone());
                    next += 1;
                }
            }
        }
        self.0.insert(at.path, Module { tokens: own, file: at.file });
    }
}

fn child(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// The file of the module `name`, and the folder of its children.
fn found(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let beside = folder.join(format!("{name}.rs"));
    let file = if beside.is_file() { beside } else { folder.join(name).join("mod.rs") };
    (file, folder.join(name))
}

/// The tokens without items that have `#[cfg(test)]`, in every depth.
fn without_tests(tokens: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let attribute = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#');
        if attribute && tokens.peek().is_some_and(is_test) {
            // An item ends with its body or with a semicolon.
            tokens.find(|token| match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(mark) => mark.as_char() == ';',
                _ => false,
            });
            continue;
        }
        kept.push(match token {
            TokenTree::Group(group) => proc_macro2::Group::new(group.delimiter(), without_tests(group.stream())).into(),
            other => other,
        });
    }
    kept.into_iter().collect()
}

/// Whether this is what follows `#` in `#[cfg(test)]`.
fn is_test(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let text: String = group.stream().into_iter().map(|token| token.to_string()).collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}
