//! What cloud-init would take for something else than one plain document: other kinds of user-data, by how they begin,
//! and keys that say how documents merge. Refuses them with the way out; must not read them.

use std::sync::Arc;

use crate::{
    error::{ConfigError, ConfigErrors},
    source::{Form, LayerKind, Mark, Source, mark_of},
    tree::Node,
};

/// How a text of another kind begins, in small letters, what it is, and what to do instead. cloud-init passes over
/// blanks before it, and looks at no case (`cloudinit.handlers.type_from_starts_with`).
const TEXTS: &[(&str, &str, &str)] = &[
    (
        "#include",
        "a list of addresses for cloud-init",
        "name the document with `cloud-init-url`, or fetch it and give it with --config",
    ),
    ("#!", "a script", "put it into a document, below `runcmd` or `write_files`"),
    ("#cloud-boothook", "a boot hook", "put it into a document, below `bootcmd`"),
    ("#upstart-job", "a job of Upstart", "put a unit of systemd into a document, below `write_files`"),
    ("#part-handler", "a program that handles parts", "put it into the image, and what it handles below `write_files`"),
    (
        "#cloud-config-archive",
        "an archive of documents",
        "write each `#cloud-config` part into a document of its own, and give them with --config in their order",
    ),
    (
        "#cloud-config-jsonp",
        "a JSON patch",
        "write the values into a document; the tags !append, !prepend, !override and !reset change inherited ones",
    ),
    ("content-type:", "a MIME message", PARTS),
    ("mime-version:", "a MIME message", PARTS),
    ("i2nsb3vkl", "text in base64", "decode it with `base64 -d`"),
    ("h4si", "compressed text in base64", "decode it with `base64 -d | zcat`"),
];
const PARTS: &str = "write each part into a document of its own, and give them with --config in their order";

/// How bytes that are no text begin.
const BYTES: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "compressed with gzip twice", "decompress it once with `zcat`"),
    (b"BZh", "compressed with bzip2", "unpack it with `bzcat`"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it with `xzcat`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it with `zstdcat`"),
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"\xff\xfe", "text in UTF-16", "write it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "write it as UTF-8"),
];
const ALLOWED: &str = "one YAML document in UTF-8, such as one that begins with `#cloud-config`";

/// Keys at the top with which a document of cloud-init says how it is merged.
const MERGING: [&str; 2] = ["merge_how", "merge_type"];

/// Why `bytes`, without their byte order mark, are not one plain document.
pub(crate) fn kind(layer: LayerKind, name: &str, bytes: &[u8]) -> Result<(), ConfigErrors> {
    let refused = |text: &str, mark: Mark, what: &str, instead: &str| -> Result<(), ConfigErrors> {
        let source = Source::new(layer, name, text, Form::Text);
        let error = ConfigError::new(&source, mark, "", format!("this is {what}, which is not taken here"));
        Err(error.allowed(ALLOWED).suggestion(Some(instead.to_owned())).into())
    };
    if let Some((_, what, instead)) = BYTES.iter().find(|(start, ..)| bytes.starts_with(start)) {
        return refused("", Mark::START, what, instead);
    }
    // What is no UTF-8 behind its first line is told as that, if its first line is plain.
    let Some(first) = first_line(bytes) else { return Ok(()) };
    let lower = first.to_ascii_lowercase();
    // The marker and nothing that goes on as a word: a remark may begin with `#included`.
    let is = |start: &str| {
        let rest = lower.strip_prefix(start)?;
        let ends = start.ends_with([':', '!']) || !start.starts_with('#');
        (ends || !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')).then_some(())
    };
    // The longest counts: `#cloud-config-archive` is no `#cloud-config`.
    let found = TEXTS.iter().filter(|(start, ..)| is(start).is_some()).max_by_key(|(start, ..)| start.len());
    let template = lower.strip_prefix("##").is_some_and(|rest| rest.trim_start().starts_with("template:"));
    let (what, instead) = match found {
        _ if template => (
            "a template",
            "nothing fills in its `{{ … }}`: write the values, and leave the first line out; a command below `runcmd` \
             can ask `cloud-init query`",
        ),
        Some((_, what, instead)) => (*what, *instead),
        None => return Ok(()),
    };
    let text = String::from_utf8_lossy(bytes);
    let offset = text.len() - text.trim_start().len();
    refused(&text, Mark { width: first.chars().count().max(1), ..mark_of(&text, offset) }, what, instead)
}

/// The first line that is not blank, without blanks around it.
fn first_line(bytes: &[u8]) -> Option<&str> {
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).find(|line| !line.trim_ascii().is_empty())?;
    std::str::from_utf8(line).ok().map(str::trim)
}

/// Refuses a document that says, in the words of cloud-init, how it is merged: nobody would follow it.
pub(crate) fn merging(source: &Arc<Source>, root: &Node) -> Result<(), ConfigErrors> {
    let stated = |name| root.entry(name).filter(|entry| !entry.value.is_null()).map(|entry| (name, entry));
    let Some((name, entry)) = MERGING.into_iter().find_map(stated) else { return Ok(()) };
    let error = ConfigError::new(source, entry.mark, name, format!("`{name}` of cloud-init has no effect here"));
    let error = error.allowed("maps that merge by key, and lists and scalars that replace what was there").suggestion(Some(
        "leave the key out, and write a tag before the value: !append or !prepend before a list, !override before a map"
            .to_owned(),
    ));
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, set};

    fn refused(bytes: &[u8]) -> String {
        match parse(LayerKind::Volume, "f", bytes) {
            Ok(_) => panic!("{} is taken", String::from_utf8_lossy(bytes)),
            Err(errors) => errors.to_string(),
        }
    }

    #[test]
    fn other_kinds_of_user_data_are_named_with_their_place_and_the_way_out() {
        for (text, what, instead) in [
            (
                "## template: jinja\n#cloud-config\nruncmd: ['{{ v1.x }}']\n",
                "f:1:1: this is a template",
                "cloud-init query",
            ),
            ("##Template:jinja\r\n#cloud-config\r\na: b\r\n", "this is a template", "leave the first line out"),
            ("\n  \n## template: jinja\na: b\n", "f:3:1: this is a template", "write the values"),
            ("#include\nhttps://h/x\n", "this is a list of addresses", "`cloud-init-url`"),
            ("#include-once\nhttps://h/x\n", "this is a list of addresses", "--config"),
            ("#INCLUDE https://h/x\n", "this is a list of addresses", "--config"),
            ("#!/bin/sh\n", "this is a script", "`runcmd`"),
            ("#cloud-boothook\n#!/bin/sh\n", "this is a boot hook", "`bootcmd`"),
            ("#part-handler\n", "this is a program that handles parts", "image"),
            ("#upstart-job\n", "this is a job of Upstart", "systemd"),
            ("#cloud-config-archive\n- a: b\n", "this is an archive of documents", "--config"),
            ("#cloud-config-jsonp\n[]\n", "this is a JSON patch", "!append"),
            ("Content-Type: multipart/mixed; boundary=x\n", "this is a MIME message", "--config"),
            ("MIME-Version: 1.0\n", "this is a MIME message", "--config"),
            ("I2Nsb3VkLWNvbmZpZwo=\n", "this is text in base64", "base64 -d"),
            ("H4sIAAAAAAAA\n", "this is compressed text in base64", "zcat"),
        ] {
            for bytes in [text.as_bytes().to_vec(), [b"\xef\xbb\xbf", text.as_bytes()].concat()] {
                let error = refused(&bytes);
                assert!(error.contains(what) && error.contains(instead), "{text:?}: {error}");
            }
        }
        for (bytes, what) in [
            (b"\x28\xb5\x2f\xfd\0".as_slice(), "f:1:1: this is compressed with zstd"),
            (b"\xfd7zXZ\0\0", "xz"),
            (b"BZh9", "bzip2"),
            (b"\xff\xfea\0", "UTF-16"),
        ] {
            let error = refused(bytes);
            assert!(error.contains(what) && error.contains("help: "), "{error}");
        }
    }

    #[test]
    fn plain_documents_are_taken_however_they_begin() {
        for text in [
            "#cloud-config\na: b\n",
            "#cloud-config\r\na: b\r\n",
            "\u{feff}#cloud-config\r\na: b\r\n",
            "\n#cloud-config\na: b",
            "#cloud-init\na: b",
            "# Licence: MIT\n#cloud-config\na: b",
            "#included by the team\na: b",
            "## templates: none\na: b",
            "---\na: b",
            "a: b # ## template: jinja",
            "",
        ] {
            parse(LayerKind::Project, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{text:?}\n{errors}"));
        }
    }

    #[test]
    fn how_cloud_init_would_merge_is_refused_at_its_place() {
        let error = refused(b"#cloud-config\npackages: [git]\nmerge_how:\n - {name: list, settings: [append]}\n");
        assert!(
            error.contains("f:3:1: `merge_how` of cloud-init has no effect") && error.contains("!append"),
            "{error}"
        );
        assert!(refused(b"merge_type: 'list(append)+dict()'\n").contains("f:1:1: `merge_type`"));
        let error = set(0, "merge_how=list(append)").unwrap_err().to_string();
        assert!(error.contains("--set merge_how") && error.contains("`merge_how` of cloud-init"), "{error}");
    }
}
