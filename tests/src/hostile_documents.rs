//! Documents made to hurt, for the whole program: how each is handed over, and the clear error or the meaning that it
//! has. Makes bytes only; who runs them bounds their memory and time.

use std::{fs, io, path::Path};

/// Most memory that the program may take for any of them, in bytes.
pub const MEMORY: u64 = 64 << 20;
/// Longest time that it may take for any of them, in milliseconds.
pub const MILLISECONDS: f64 = 100.0;

/// One case.
#[derive(Clone, Debug)]
pub struct HostileDocument {
    /// What it is, for people.
    pub name: &'static str,
    /// What it says.
    documents: Vec<Vec<u8>>,
    /// The exit code: 3 when it is refused.
    pub code: i32,
    /// A part of the error, or of the audit.
    pub says: &'static str,
}

impl HostileDocument {
    /// Writes it into `folder` and gives the arguments of `cloud-machine` that read it from there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut arguments = vec!["config".to_owned(), "audit".to_owned()];
        for (index, document) in self.documents.iter().enumerate() {
            let name = format!("{index}.yaml");
            fs::write(folder.join(&name), document)?;
            arguments.extend(["--config".to_owned(), name]);
        }
        Ok(arguments)
    }
}

/// All cases.
#[must_use]
pub fn all() -> Vec<HostileDocument> {
    let mut all = refused();
    all.extend(accepted());
    all
}

fn case(name: &'static str, document: impl Into<Vec<u8>>, code: i32, says: &'static str) -> HostileDocument {
    HostileDocument { name, documents: vec![document.into()], code, says }
}

/// `count` lines or items, each made from its index.
fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

fn refused() -> Vec<HostileDocument> {
    let bomb = many(20, |index| format!("a{index}: &a{index} [{}]\n", format!("*a{},", index.max(1) - 1).repeat(9)));
    let deep = many(10_000, |depth| format!("{}a:\n", " ".repeat(depth.min(90))));
    let unknown = many(4000, |index| format!("k{index}: {}, ", "x".repeat(200)));
    let long_path = many(15, |depth| format!("{}{}:\n", "  ".repeat(depth), "k".repeat(240)));
    let escaped = format!("a: \"{}\"", "\\u1234".repeat(170_000));
    let replaced = format!("a:\n{}", many(4700, |index| format!("  k{index}: 1\n")));
    let refuse = |name, document: String, says| case(name, document, 3, says);
    vec![
        refuse("alias bomb", bomb, "anchors are not supported"),
        refuse("alias to itself", "a: &a [*a]".into(), "anchors are not supported"),
        refuse("text of 10 MB", format!("a: {}", "x".repeat(10 << 20)), "the document has 1048577 bytes"),
        refuse("text of 1 MB", format!("a: {}", "x".repeat(1_000_000)), "the value has 1000000 bytes"),
        refuse("key of 1 MB", format!("{}: 1", "x".repeat(1_000_000)), "the value has 1000000 bytes"),
        refuse("text of 170,000 escapes", escaped, "the value has 510000 bytes"),
        refuse("quote that never ends, 1 MB", format!("a: '{}", "''".repeat(500_000)), "unexpected end of stream"),
        refuse("1,000,000 brackets", format!("a: {}", "[".repeat(1_000_000)), "nested too deep"),
        refuse("10,000 braces", format!("a: {}", "{a: ".repeat(10_000)), "nested too deep"),
        refuse("500,000 dashes", "- ".repeat(500_000), "nested too deep"),
        refuse("500,000 question marks", "? ".repeat(500_000), "nested too deep"),
        refuse("10,000 maps in one another", deep, "nested too deep"),
        refuse("path of 3,600 bytes", format!("{long_path}{}a: 1\n", "  ".repeat(15)), "the path of a key has"),
        refuse("100,000 times one key", "a: 1\n".repeat(100_000), "the key `a` is there twice"),
        refuse("75,000 keys", many(75_000, |index| format!("k{index}: 1\n")), "too many values"),
        refuse("500,000 items", format!("a: [{}]", "1,".repeat(500_000)), "too many values"),
        refuse("300,000 tags", format!("a: {}", "!a ".repeat(300_000)), "unknown tag"),
        refuse("4,000 errors", format!("cloud-machine: {{{unknown}}}"), "and 3980 more errors"),
        refuse("error after 1 MB of comments", format!("{}a: [", "# x\n".repeat(250_000)), "did not find expected"),
        refuse(
            "number beyond all numbers",
            "cloud-machine: {resources: {ram: 1e400}}".into(),
            "a number of GiB above 0",
        ),
        refuse(
            "9,000 paths to exclude, 12 keys each",
            format!("exclude: [{}]", many(9000, |index| format!("a.b.c.d.e.f.g.h.i.j.k.m{index},"))),
            "the paths have too many keys",
        ),
        HostileDocument {
            name: "three documents, large together",
            documents: ["x", "y", "z"].map(|name| replaced.replace("  k", &format!("  {name}")).into_bytes()).into(),
            code: 3,
            says: "all documents together have",
        },
    ]
}

fn accepted() -> Vec<HostileDocument> {
    let accept = |name, document: String, says| case(name, document, 0, says);
    let map = format!("a:\n{}", many(4700, |index| format!("  k{index}: {index}\n")));
    let (map, word) = (map.into_bytes(), b"a: 1\n".to_vec());
    vec![
        accept("1 MB of comments", "# x\n".repeat(250_000), "cloud-machine.driver"),
        accept("1,000,000 empty lines", "\n".repeat(1_000_000), "cloud-machine.driver"),
        accept("4 texts of 250,000 bytes", many(4, |index| format!("a{index}: {}\n", "x".repeat(250_000))), "a3"),
        accept("text of 60,000 folded lines", format!("a: >\n{}", " x\n\n".repeat(60_000)), "x\\nx"),
        accept("4,700 values", many(4700, |index| format!("k{index}: {index}\n")), "k4699"),
        accept("9,000 maps in a list", format!("a: [{}]", "{},".repeat(9000)), "[{},{},"),
        accept("numbers beyond all numbers", "a: [1e400, -1e400, 0x1p9999]".into(), "1e400"),
        accept(
            "4,700 values, 15 maps deep",
            many(15, |depth| format!("{}a:\n", "  ".repeat(depth)))
                + &many(4700, |index| format!("{}k{index}: 1\n", "  ".repeat(15))),
            "a.a.a.k4699",
        ),
        accept("4,700 secrets", many(4700, |index| format!("password-{index}: x\n")), "[redacted "),
        accept(
            "5,000 paths to exclude",
            format!("exclude: [{}]", many(5000, |index| format!("a{index}.b,"))),
            "cloud-machine.driver",
        ),
        HostileDocument {
            // As many as there are layers.
            name: "7 documents that replace one another",
            documents: (0..7).map(|index| if index % 2 == 0 { map.clone() } else { word.clone() }).collect(),
            code: 0,
            says: "command line 6.yaml:2:7",
        },
    ]
}
