//! Circles that were planted, and what looks like one: the test itself under test.

use std::fs;

use crate::below;

/// A crate of these files, `lib.rs` among them.
type Files = &'static [(&'static str, &'static str)];

fn circles(files: Files) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    below(&folder.path().join("lib.rs")).0
}

#[test]
fn a_planted_circle_is_seen_and_named() {
    const TWO: &str = "mod a;\nmod b;";
    let planted: [(&str, Files, &str); 11] = [
        (
            "by imports",
            &[
                ("lib.rs", TWO),
                ("a.rs", "use crate::b::B;\npub struct A(B);"),
                ("b.rs", "use crate::a::A;\npub struct B;"),
            ],
            "a -> b (crate::b::B) -> a (crate::a::A)",
        ),
        (
            "by paths in code",
            &[("lib.rs", TWO), ("a.rs", "pub fn f() { crate::b::g() }"), ("b.rs", "pub fn g() { super::a::f() }")],
            "a -> b (crate::b::g) -> a (super::a::f)",
        ),
        (
            "of three",
            &[
                ("lib.rs", "mod a;\nmod b;\nmod c;"),
                ("a.rs", "use crate::b;\nfn f() { b::g() }"),
                ("b.rs", "use crate::{c::{self, C}};\npub fn g() -> C { c::h() }"),
                ("c.rs", "use super::a::f as other;"),
            ],
            "a -> b (crate::b) -> c (crate::c, crate::c::C) -> a (super::a::f)",
        ),
        (
            "by re-exports",
            &[
                ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub(crate) use self::b::B as Other;"),
                ("a.rs", "use crate::Other;\npub struct A;"),
                ("b.rs", "use crate::A;\npub struct B;"),
            ],
            "a -> b (crate::Other) -> a (crate::A)",
        ),
        (
            "in what a macro is given, and in an import in a function",
            &[
                ("lib.rs", TWO),
                ("a.rs", "pub const A: u32 = 1;\nfn f() { println!(\"{}\", crate::b::B); }"),
                ("b.rs", "pub const B: u32 = 1;\nfn g() { use crate::a::A; }"),
            ],
            "a -> b (crate::b::B) -> a (crate::a::A)",
        ),
        (
            "of a child and a function around it",
            &[
                ("lib.rs", "mod a;"),
                ("a/mod.rs", "mod child;\npub fn f() { child::g() }\nfn helper() {}"),
                ("a/child.rs", "use super::helper;\npub fn g() { helper() }"),
            ],
            "a -> a::child (child::g) -> a (super::helper)",
        ),
        (
            "of a child and the root",
            &[("lib.rs", "mod a;\nfn f() { a::g() }"), ("a.rs", "pub fn g() { crate::f() }")],
            "a -> the root (crate::f) -> a (a::g)",
        ),
        (
            "of a child and a module that offers and uses it",
            &[
                ("lib.rs", "mod a;"),
                ("a.rs", "mod child;\npub use child::Child;\nfn f() -> Child { Child }"),
                ("a/child.rs", "pub struct Child;\nfn g() { super::f(); }"),
            ],
            "a -> a::child (child::Child) -> a (super::f)",
        ),
        (
            "in an inline module, from which `super` counts",
            &[
                ("lib.rs", TWO),
                ("a.rs", "mod inline { use super::super::b::B; }\npub struct A;"),
                ("b.rs", "use crate::a::A;\npub struct B;"),
            ],
            "a -> b (super::super::b::B) -> a (crate::a::A)",
        ),
        (
            "in a type that a method is called on",
            &[
                ("lib.rs", TWO),
                ("a.rs", "pub struct A;\nfn f() { crate::b::B::make(); }"),
                ("b.rs", "pub struct B;\nimpl From<crate::a::A> for B {}"),
            ],
            "a -> b (crate::b::B::make) -> a (crate::a::A)",
        ),
        (
            "next to code for tests",
            &[
                ("lib.rs", TWO),
                ("a.rs", "#[cfg(test)]\nuse crate::c::{C, D};\nuse crate::b::B;\npub struct A;"),
                ("b.rs", "use crate::a::A;\npub struct B;\n#[cfg(test)]\nmod tests { use super::*; }"),
            ],
            "a -> b (crate::b::B) -> a (crate::a::A)",
        ),
    ];
    for (what, files, expected) in planted {
        assert_eq!(circles(files), [expected], "{what}");
    }
}

#[test]
fn what_only_looks_like_a_circle_is_none() {
    const TWO: &str = "mod a;\nmod b;";
    let harmless: [(&str, Files); 7] = [
        ("one way", &[("lib.rs", TWO), ("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B;")]),
        (
            "tests alone use it",
            &[
                ("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod laws;"),
                ("a.rs", "use crate::b::B;\npub struct A;"),
                (
                    "b.rs",
                    "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(test)]\nfn f(a: crate::a::A) {}",
                ),
            ],
        ),
        (
            "comments and texts",
            &[
                ("lib.rs", TWO),
                ("a.rs", "use crate::b::B;"),
                (
                    "b.rs",
                    "//! [`crate::a::A`]\n/// As crate::a::A.\npub struct B; // crate::a::A\nconst T: &str = \"crate::a::A\";",
                ),
            ],
        ),
        (
            "a root that only offers what its children have",
            &[
                ("lib.rs", "mod a;\npub use a::{A, f};\npub struct Shared { pub f: u32 }"),
                ("a.rs", "use crate::Shared;\npub struct A(Shared);\npub fn f() {}"),
            ],
        ),
        (
            "words that a module shares with its parts",
            &[
                ("lib.rs", "mod a;"),
                ("a.rs", "mod child;\npub const MOST: u32 = 1;\npub struct A;\nfn f() { child::g(A) }"),
                ("a/child.rs", "use super::{A, MOST};\npub fn g(a: A) { A::new(MOST); }"),
            ],
        ),
        (
            "a child that needs another one, both below the module that uses them",
            &[
                ("lib.rs", "mod a;"),
                ("a.rs", "mod one;\nmod two;\nfn f() { one::g() }\npub(crate) use two::Two;"),
                ("a/one.rs", "use super::Two;\npub fn g() {}"),
                ("a/two.rs", "pub struct Two;"),
            ],
        ),
        (
            "other crates and fields of the same names",
            &[
                ("lib.rs", TWO),
                ("a.rs", "use other::b::B;\nuse std::fmt;\npub struct A { pub b: u32 }\nfn f(a: A) -> u32 { a.b }"),
                ("b.rs", "use crate::a::A;"),
            ],
        ),
    ];
    for (what, files) in harmless {
        assert_eq!(circles(files), [""; 0], "{what}");
    }
}
