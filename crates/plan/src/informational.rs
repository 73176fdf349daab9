//! The fields of a report that verification does not hold against anything. Everything else in a report is checked: a law
//! test changes every field of the types and finds each of them either refused or here.

/// Paths of fields whose value is the machine's word and decides nothing, each with the reason. `[]` stands for any element
/// of a list. Of some the shape is checked; `docs/reference/report.md` says which.
pub const INFORMATIONAL: [(&str, &str); 23] = [
    (
        "boot_id",
        "the kernel makes it up at every boot; it has the form of one, and is that of the agent's first message",
    ),
    ("agent.version", "the digest says which agent it was"),
    ("agent.kernel_release", "of a provider's rescue system, whose kernel is not the host's; else checked"),
    ("agent.command_line_digest", "likewise"),
    ("config.url.document", "checked when the configuration has the digest of the document"),
    ("config.url.requests", "depends on the network"),
    ("config.url.address", "depends on the network"),
    ("steps[].milliseconds", "depends on the machine"),
    (
        "devices[].disk.name",
        "the kernel's own numbering; it is one of the right bus, and steps and readings use the same",
    ),
    ("devices[].disk.wwn", "what a device calls itself besides the serial that the host gave it"),
    ("devices[].disk.discard", "only chooses how a disk is made zero, and every byte of that is read"),
    ("devices[].disk.probe", "what lay on a disk before; where it decides something, the steps are held against it"),
    ("devices[].disk.partitions", "likewise"),
    ("image_source.received_bytes", "depends on the network"),
    ("image_source.requests", "depends on the network"),
    ("image_source.address", "depends on the network"),
    ("root.entries", "the digests of all files say more; it is not zero"),
    (
        "ignored_volumes",
        "what did not count decided nothing; each is on a disk of the machine, and nothing is said twice",
    ),
    ("steps[].outcome", "of a pool that was imported or got datasets: whether there were some to make; else checked"),
    ("identity[].public", "of keys to log in with that come from documents of the machine's own; else checked"),
    ("timings", "depends on the machine"),
    ("changed[].digest", "checked when the ranges are all listed"),
    ("steps[].read_back_bytes", "how often a device had to be read again is its own affair; held within bounds"),
];
