//! A survey as aligned plain text. Must not print a letter that a terminal could obey.

use std::fmt::Write;

use cloud_machine_protocol::escaped;
use cloud_machine_system::survey::{Content, Look, Partition, Row, Survey, SurveyedDisk, TableCopy, TableLook};

/// What stands where there is nothing.
const NONE: &str = "-";

/// The whole table.
pub(super) fn table(survey: &Survey) -> String {
    let mut devices =
        Columns::new(&["NAME", "SIZE", "OFFSET", "SECTOR", "MODE", "TRANSPORT", "CONTENT", "LABEL", "UUID"]);
    let mut identities = Columns::new(&["NAME", "MODEL", "SERIAL", "WWN", "FILE"]);
    let mut partitions = Columns::new(&["NAME", "PARTITION", "PARTITION NAME", "TYPE", "PARTITION UUID"]);
    let mut holders = Columns::new(&["NAME", "IN USE"]);
    let mut links = Columns::new(&["NAME", "ALSO NAMED"]);
    let mut failures = Columns::new(&["NAME", "NOT READ"]);
    for row in &survey.disks {
        let disk = match row {
            Row::Disk(disk) => disk,
            Row::Unreadable { name, reason } => {
                devices.row([name, "?", "?", "?", "?", "?", "unreadable", NONE, NONE]);
                failures.row([name, reason]);
                continue;
            }
        };
        let name = disk.name.as_str();
        devices.row(disk_row(disk));
        let identity = [&disk.model, &disk.serial, &disk.wwn, &disk.backing_file];
        if identity.iter().any(|text| text.is_some()) {
            let [model, serial, wwn, file] = identity.map(|text| text.as_deref().unwrap_or(NONE));
            identities.row([name, model, serial, wwn, file]);
        }
        if let Some(reason) = unread(&disk.probe) {
            failures.row([name, &reason]);
        } else if let TableLook::Unreadable { reason } = &disk.table {
            failures.row([name, reason]);
        }
        for partition in &disk.partitions {
            let own = partition_name(disk, partition);
            devices.row(partition_row(&own, partition));
            let number = partition.number.to_string();
            let [label, r#type, uuid] = [&partition.partition_name, &partition.r#type, &partition.partition_uuid]
                .map(|text| text.as_deref().unwrap_or(NONE));
            partitions.row([&own, &number, label, r#type, uuid]);
            if let Some(reason) = unread(&partition.probe) {
                failures.row([&own, &reason]);
            }
        }
        match &disk.holders {
            Look::Found { value } => value.iter().for_each(|holder| holders.row([name, &holder.to_string()])),
            Look::Unreadable { reason } => failures.row([name, &format!("who uses it: {reason}")]),
        }
        match &disk.links {
            Look::Found { value } => value.iter().for_each(|link| links.row([name, link])),
            Look::Unreadable { reason } => failures.row([name, &format!("its other names: {reason}")]),
        }
    }
    let all = [devices, identities, partitions, holders, links, failures];
    let sections: Vec<String> = all.iter().filter(|columns| columns.rows.len() > 1).map(Columns::text).collect();
    if sections.is_empty() { "no disks\n".to_owned() } else { sections.join("\n") }
}

fn disk_row(disk: &SurveyedDisk) -> [String; 9] {
    let sector = if disk.logical_sector_size == disk.physical_sector_size {
        disk.logical_sector_size.to_string()
    } else {
        format!("{}/{}", disk.logical_sector_size, disk.physical_sector_size)
    };
    let written = if disk.read_only { "read-only" } else { "read-write" };
    let mode = if disk.rotational { format!("{written}, turns") } else { written.to_owned() };
    let copy = match &disk.table {
        TableLook::Found(table) if table.copy == Some(TableCopy::Backup) => " (backup)",
        _ => "",
    };
    let [content, label, uuid] = content(&disk.probe);
    let transport = disk.transport.clone().unwrap_or_else(|| NONE.to_owned());
    let none = NONE.to_owned();
    [disk.name.clone(), size(disk.size), none, sector, mode, transport, content + copy, label, uuid]
}

fn partition_row(name: &str, partition: &Partition) -> [String; 9] {
    let [content, label, uuid] = content(&partition.probe);
    let none = || NONE.to_owned();
    [format!("  {name}"), size(partition.length), size(partition.offset), none(), none(), none(), content, label, uuid]
}

/// The kernel's name, or the place in the table of a partition that the kernel does not have.
fn partition_name(disk: &SurveyedDisk, partition: &Partition) -> String {
    partition.name.clone().unwrap_or_else(|| format!("{} partition {}", disk.name, partition.number))
}

/// What lies there, its label and its UUID.
fn content(content: &Content) -> [String; 3] {
    let none = || NONE.to_owned();
    match content {
        Content::Empty => ["empty".to_owned(), none(), none()],
        Content::Unknown => ["unknown".to_owned(), none(), none()],
        Content::Ambivalent { signatures } => [format!("ambivalent: {}", signatures.join("+")), none(), none()],
        Content::Unreadable { .. } => ["unreadable".to_owned(), "?".to_owned(), "?".to_owned()],
        Content::Silent { .. } => ["no answer".to_owned(), "?".to_owned(), "?".to_owned()],
        Content::Found(found) => {
            let types: Vec<&str> =
                [&found.filesystem, &found.partition_table].into_iter().flatten().map(String::as_str).collect();
            let what = if types.is_empty() { "a signature".to_owned() } else { types.join("+") };
            [what, found.label.clone().unwrap_or_else(none), found.uuid.clone().unwrap_or_else(none)]
        }
    }
}

fn unread(content: &Content) -> Option<String> {
    match content {
        Content::Unreadable { reason } => Some(reason.clone()),
        Content::Silent { seconds } => Some(format!("it did not answer within {seconds} s")),
        Content::Empty | Content::Unknown | Content::Found(_) | Content::Ambivalent { .. } => None,
    }
}

/// Bytes in the largest binary unit that leaves a whole part, with one digit, rounded down: a disk is never told to be
/// larger than it is.
fn size(bytes: u64) -> String {
    let (mut unit, mut name) = (1, "B");
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if bytes / unit < 1024 {
            break;
        }
        (unit, name) = (unit << 10, next);
    }
    // Ten times less than the largest unit still fits.
    match (bytes / unit, bytes % unit * 10 / unit) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}

/// Rows of texts, the first of them the head.
pub(crate) struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row<T: AsRef<str>, const N: usize>(&mut self, texts: [T; N]) {
        self.rows.push(texts.iter().map(|text| escaped(text.as_ref())).collect());
    }

    pub(crate) fn text(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
        let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a text cannot fail.
                write!(line, "{cell:width$}  ").unwrap_or_default();
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_system::survey::{SeenBy, Signature, Table};

    use super::*;

    fn disk() -> SurveyedDisk {
        SurveyedDisk {
            name: "vda".to_owned(),
            transport: Some("virtio".to_owned()),
            model: None,
            serial: Some("A1".to_owned()),
            wwn: None,
            backing_file: None,
            size: 3 << 29,
            logical_sector_size: 512,
            physical_sector_size: 4096,
            read_only: true,
            rotational: true,
            probe: Content::Found(Signature { partition_table: Some("gpt".to_owned()), ..Signature::default() }),
            table: TableLook::Found(Table { format: "gpt".to_owned(), id: None, copy: Some(TableCopy::Backup) }),
            partitions: vec![Partition {
                number: 3,
                name: None,
                offset: 1 << 20,
                length: 20 << 20,
                seen_by: SeenBy::Table,
                r#type: None,
                partition_name: Some("root".to_owned()),
                partition_uuid: None,
                probe: Content::Unreadable { reason: "no \x1b[2J".to_owned() },
            }],
            holders: Look::Unreadable { reason: "gone".to_owned() },
            links: Look::Found { value: vec!["/dev/disk/by-id/x".to_owned()] },
        }
    }

    #[test]
    fn columns_are_aligned_and_what_was_not_read_is_told_apart() {
        let gone = Row::Unreadable { name: "vdb".to_owned(), reason: "cannot read".to_owned() };
        let survey = Survey { disks: vec![Row::Disk(Box::new(disk())), gone], ambiguities: Vec::new() };
        let expected = "\
NAME               SIZE     OFFSET  SECTOR    MODE              TRANSPORT  CONTENT       LABEL  UUID
vda                1.5 GiB  -       512/4096  read-only, turns  virtio     gpt (backup)  -      -
  vda partition 3  20 MiB   1 MiB   -         -                 -          unreadable    ?      ?
vdb                ?        ?       ?         ?                 ?          unreadable    -      -

NAME  MODEL  SERIAL  WWN  FILE
vda   -      A1      -    -

NAME             PARTITION  PARTITION NAME  TYPE  PARTITION UUID
vda partition 3  3          root            -     -

NAME  ALSO NAMED
vda   /dev/disk/by-id/x

NAME             NOT READ
vda partition 3  no \\u{1b}[2J
vda              who uses it: gone
vdb              cannot read
";
        assert_eq!(table(&survey), expected);
    }

    #[test]
    fn a_machine_without_disks_says_so() {
        assert_eq!(table(&Survey { disks: Vec::new(), ambiguities: Vec::new() }), "no disks\n");
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_what_people_read_is_not() {
        assert_eq!(
            escaped("Größe \"a\\b\" \x1b]0;\x07\u{9b}\u{202e}\n"),
            "Größe \"a\\b\" \\u{1b}]0;\\u{7}\\u{9b}\\u{202e}\\n"
        );
    }

    #[test]
    fn sizes_are_never_rounded_up() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (1 << 20, "1 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }
}
