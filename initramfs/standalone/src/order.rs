//! Which module files are needed and in which order they load, from depmod(8)'s text files (modules.dep(5)). Owns the
//! names; must not know what a module does.

use std::collections::BTreeMap;

use crate::{InitramfsError, compressed};

const DEP: &str = "modules.dep";
const BUILTIN: &str = "modules.builtin";
/// Longest chain of modules that wait for each other. Real ones have fewer than 10; the walk is recursive.
const MAX_DEPTH: usize = 100;

/// Name of the stage that is loaded at once. Each other one is loaded when it is needed, after it.
pub const BOOT: &str = "boot";

/// The stages of `modules.list` beside this crate, in its order, each with the modules that are wanted for it.
#[must_use]
pub fn stages() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut stages: Vec<(&str, Vec<&str>)> = Vec::new();
    let lines = include_str!("../modules.list").lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix('[').and_then(|line| line.strip_suffix(']')), stages.last_mut()) {
            (Some(name), _) => stages.push((name, Vec::new())),
            (None, Some((_, wanted))) => wanted.push(line),
            (None, None) => {}
        }
    }
    stages
}

/// Name of the stage with the kernel module `module` and all it needs; `-` and `_` are the same.
#[must_use]
pub fn stage_of(module: &str) -> String {
    format!("module-{}", module.replace('-', "_"))
}

/// Paths of the wanted modules and of all they depend on, each once, what is needed before what needs it. The paths are
/// relative to the kernel's folder, as `modules_dep` has them.
///
/// `modules_dep` and `modules_builtin` are the texts of the files of these names. Names compare with `-` and `_` equal.
/// What is built into the kernel is left out. The same input gives the same order.
///
/// # Errors
/// When a text is malformed, a wanted module or a dependency is in neither list, a needed module is compressed in a way
/// that nobody reads, or modules depend on each other in a circle.
pub fn load_order(modules_dep: &str, modules_builtin: &str, wanted: &[&str]) -> Result<Vec<String>, InitramfsError> {
    let files = parse_dep(modules_dep)?;
    let builtin = parse_builtin(modules_builtin)?;
    let by_name: BTreeMap<String, &str> = files.keys().map(|path| (module_name(path), *path)).collect();
    let mut order = Order { files, state: BTreeMap::new(), paths: Vec::new() };
    for module in wanted {
        let name = module.replace('-', "_");
        match by_name.get(&name) {
            Some(path) => order.visit(path, 0)?,
            None if builtin.contains(&name) => {}
            None => return Err(InitramfsError::ModuleAbsent { module: (*module).to_owned() }),
        }
    }
    Ok(order.paths)
}

/// Name of the module in a file: without folders, `.ko` and compression, and with `_` for `-`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name).replace('-', "_")
}

fn parse_dep(text: &str) -> Result<BTreeMap<&str, Vec<&str>>, InitramfsError> {
    let mut files = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let invalid = |reason| InitramfsError::ListInvalid { file: DEP, line: index + 1, reason };
        let (path, needs) = line.split_once(':').ok_or_else(|| invalid("it has no colon"))?;
        let needs: Vec<&str> = needs.split_whitespace().collect();
        for path in needs.iter().chain([&path]) {
            check_path(path).map_err(invalid)?;
        }
        if files.insert(path, needs).is_some() {
            return Err(invalid("the module has a line already"));
        }
    }
    Ok(files)
}

fn parse_builtin(text: &str) -> Result<Vec<String>, InitramfsError> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let invalid = |reason| InitramfsError::ListInvalid { file: BUILTIN, line: index + 1, reason };
        check_path(line.trim()).map_err(invalid)?;
        names.push(module_name(line.trim()));
    }
    Ok(names)
}

/// Refuses what would leave the kernel's folder when it is joined to it: the folder may come from an image.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("a path is not relative to the kernel's folder");
    }
    if !path.contains(".ko") {
        return Err("a path is no module");
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Placed,
}

/// A depth-first walk over the dependencies.
struct Order<'a> {
    files: BTreeMap<&'a str, Vec<&'a str>>,
    state: BTreeMap<&'a str, State>,
    paths: Vec<String>,
}

impl<'a> Order<'a> {
    /// Places all that the module at `path` needs, then the module; `depth` others wait for it.
    fn visit(&mut self, path: &'a str, depth: usize) -> Result<(), InitramfsError> {
        match self.state.get(path) {
            Some(State::Placed) => return Ok(()),
            Some(State::Open) => return Err(InitramfsError::DependencyCycle { module: path.to_owned() }),
            None if depth > MAX_DEPTH => return Err(InitramfsError::DependencyDeep { module: path.to_owned() }),
            None => {}
        }
        if compressed::plain_name(path).is_none() {
            return Err(InitramfsError::ModuleCompressed { module: path.to_owned() });
        }
        self.state.insert(path, State::Open);
        let needs = self.files.get(path).cloned().unwrap_or_default();
        // depmod lists them last needed first, so from the end each finds its own needs placed already.
        for need in needs.into_iter().rev() {
            if !self.files.contains_key(need) {
                let (module, dependency) = (path.to_owned(), need.to_owned());
                return Err(InitramfsError::DependencyAbsent { module, dependency });
            }
            self.visit(need, depth + 1)?;
        }
        self.state.insert(path, State::Placed);
        self.paths.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODULES_DEP: &str = "\
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/fs/xfs/xfs.ko.zst: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/lib/lost.ko: kernel/lib/nowhere.ko
";
    const BUILTIN_LIST: &str = "kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c-generic.ko\n";

    fn order(wanted: &[&str]) -> Result<Vec<String>, InitramfsError> {
        load_order(MODULES_DEP, BUILTIN_LIST, wanted)
    }

    #[test]
    fn the_list_has_stages_of_names() {
        let stages = stages();
        let names: Vec<&str> = stages.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [BOOT, "network", "scsi", "nvme", "crypt"]);
        assert_eq!(stages[0].1, ["virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "crc32c_generic", "ext4"]);
        assert_eq!(stages[1].1, ["virtio_net"]);
        assert_eq!(stages[4].1, ["dm_crypt", "aes_generic", "ecb", "xts", "aesni_intel"]);
        assert_eq!(stage_of("virtio-rng"), "module-virtio_rng");
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let virtio = "kernel/drivers/virtio";
        assert_eq!(
            order(&["virtio_pci", "virtio_rng", "virtio_pci"]).unwrap(),
            [
                format!("{virtio}/virtio_ring.ko"),
                format!("{virtio}/virtio.ko"),
                format!("{virtio}/virtio_pci_modern_dev.ko"),
                format!("{virtio}/virtio_pci.ko"),
                "kernel/drivers/char/hw_random/virtio-rng.ko".to_owned(),
            ]
        );
    }

    #[test]
    fn the_order_of_a_line_does_not_matter() {
        let turned = "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n";
        let straight = "a.ko: c.ko b.ko\nb.ko: c.ko\nc.ko:\n";
        for text in [turned, straight] {
            assert_eq!(load_order(text, "", &["a"]).unwrap(), ["c.ko", "b.ko", "a.ko"]);
        }
    }

    #[test]
    fn hyphen_and_underscore_are_the_same_and_builtins_are_skipped() {
        assert_eq!(order(&["virtio-rng"]).unwrap(), order(&["virtio_rng"]).unwrap());
        assert_eq!(order(&["ext4", "crc32c_generic", "crc32c-generic"]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_module_that_is_nowhere_is_named() {
        assert_eq!(
            order(&["ext4", "zfs"]).unwrap_err().to_string(),
            "kernel module \"zfs\" is neither in modules.dep nor in modules.builtin of the kernel's folder below /lib/modules"
        );
        assert!(order(&["virtio_p"]).is_err());
    }

    #[test]
    fn compressed_modules_keep_their_paths_and_their_order() {
        for ending in ["", ".xz", ".zst", ".gz"] {
            let text = format!("k/a-b.ko{ending}: k/c.ko{ending}\nk/c.ko{ending}:\n");
            assert_eq!(
                load_order(&text, "", &["a_b"]).unwrap(),
                [format!("k/c.ko{ending}"), format!("k/a-b.ko{ending}")]
            );
        }
        assert_eq!(order(&["xfs"]).unwrap(), ["kernel/lib/libcrc32c.ko", "kernel/fs/xfs/xfs.ko.zst"]);
    }

    #[test]
    fn a_needed_module_that_is_compressed_in_an_unknown_way_is_refused_and_an_unneeded_one_is_not() {
        let text = "a.ko.lz4:\nb.ko: a.ko.lz4\nc.ko:\n";
        let error = load_order(text, "", &["b"]).unwrap_err();
        assert!(matches!(&error, InitramfsError::ModuleCompressed { module } if module == "a.ko.lz4"), "{error}");
        assert!(load_order(text, "", &["c"]).is_ok());
    }

    #[test]
    fn lost_dependencies_and_circles_are_errors() {
        let error = order(&["lost"]).unwrap_err();
        assert!(
            matches!(&error, InitramfsError::DependencyAbsent { dependency, .. } if dependency == "kernel/lib/nowhere.ko")
        );
        let error = load_order("a.ko: b.ko\nb.ko: a.ko\n", "", &["a"]).unwrap_err();
        assert!(matches!(error, InitramfsError::DependencyCycle { .. }), "{error}");
        let chain: String = (0..100_000).map(|module| format!("m{module}.ko: m{}.ko\n", module + 1)).collect();
        let error = load_order(&format!("{chain}m100000.ko:\n"), "", &["m0"]).unwrap_err();
        assert!(matches!(error, InitramfsError::DependencyDeep { .. }), "{error}");
    }

    #[test]
    fn lines_that_depmod_does_not_write_are_errors_with_their_number() {
        let cases = [
            ("a.ko:\nb.ko\n", "cannot parse line 2 of modules.dep: it has no colon"),
            ("/a.ko:\n", "cannot parse line 1 of modules.dep: a path is not relative to the kernel's folder"),
            ("a/../../b.ko:\n", "cannot parse line 1 of modules.dep: a path is not relative to the kernel's folder"),
            ("a.ko: ../b.ko\n", "cannot parse line 1 of modules.dep: a path is not relative to the kernel's folder"),
            ("a:\n", "cannot parse line 1 of modules.dep: a path is no module"),
            ("a.ko:\n\na.ko:\n", "cannot parse line 3 of modules.dep: the module has a line already"),
        ];
        for (text, expected) in cases {
            assert_eq!(load_order(text, "", &[]).unwrap_err().to_string(), expected);
        }
        let error = load_order("", "kernel/../ext4.ko\n", &[]).unwrap_err().to_string();
        assert!(error.starts_with("cannot parse line 1 of modules.builtin"), "{error}");
    }

    proptest! {
        #[test]
        fn every_module_follows_all_it_needs(
            edges in prop::collection::vec((0_usize..20, 0_usize..20), 0..60),
            wanted in prop::collection::vec(0_usize..20, 1..6),
        ) {
            // An edge from a larger to a smaller number never closes a circle.
            let needs = |module: usize| -> Vec<String> {
                let mut needs: Vec<usize> =
                    edges.iter().filter(|(from, to)| *from == module && to < from).map(|(_, to)| *to).collect();
                needs.dedup();
                needs.iter().map(|need| format!("m{need}.ko")).collect()
            };
            let text: String = (0..20).map(|module| format!("m{module}.ko: {}\n", needs(module).join(" "))).collect();
            let names: Vec<String> = wanted.iter().map(|module| format!("m{module}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let order = load_order(&text, "", &names).unwrap();
            for (index, path) in order.iter().enumerate() {
                prop_assert!(!order[..index].contains(path));
                let module = path.trim_start_matches('m').trim_end_matches(".ko").parse().unwrap();
                for need in needs(module) {
                    prop_assert!(order[..index].contains(&need), "{} before {}", path, need);
                }
            }
            for name in names {
                let path = format!("{name}.ko");
                prop_assert!(order.contains(&path));
            }
        }

        #[test]
        fn no_text_makes_it_panic(dep in "[a-c./:\n ko]{0,60}", builtin in "[a-c./\nko]{0,30}") {
            let _ = load_order(&dep, &builtin, &["a", "b"]);
        }
    }
}
