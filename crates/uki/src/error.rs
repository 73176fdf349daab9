//! Why there is no unified kernel image, or none that can be measured. Must not know where bytes came from.

/// What a fault is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The program of EFI that starts the kernel.
    Stub,
    /// The kernel.
    Kernel,
    /// A unified kernel image.
    Image,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Stub => "the stub",
            Self::Kernel => "the kernel",
            Self::Image => "the file",
        })
    }
}

/// Why there is no image, or no value of PCR 11.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UkiError {
    /// Its headers are not those of a PE file that firmware starts.
    #[error("{part} is no EFI program for x86-64: {why}")]
    NoProgram {
        /// What is none.
        part: Part,
        /// What is wrong with it.
        why: String,
    },
    /// A section is not in the file, or not all of it.
    #[error("{part} is cut off or damaged: section {section} is not all there")]
    CutOff {
        /// What is cut off.
        part: Part,
        /// Name of the section, safe to show.
        section: String,
    },
    /// A section would be in memory where something else is, so what runs is not what is in the file.
    #[error("{part} is damaged or made to deceive: in memory, section {section} reaches over {other}")]
    Misplaced {
        /// What has the section.
        part: Part,
        /// Name of the section, safe to show.
        section: String,
        /// Over what it reaches, safe to show.
        other: String,
    },
    /// Nothing in it says which stub of systemd it has.
    #[error("{part} has no stub of systemd: no section .sdmagic names one")]
    NoStub {
        /// What has none.
        part: Part,
    },
    /// It has a stub of which is not known what it measures.
    #[error(
        "what {version} measures is not known here; it is of Debian's {}.N-N and {}, of Debian or without a suffix",
        crate::OLD,
        known()
    )]
    UnknownStub {
        /// What the stub says of itself, safe to show.
        version: String,
    },
    /// The stub is a whole image already.
    #[error("the stub has a section {section}, so it is a whole image")]
    WholeImage {
        /// The section.
        section: String,
    },
    /// The stub carries a signature, which a changed file breaks.
    #[error("the stub is signed, and what is added to it would not be covered")]
    SignedStub,
    /// Behind the section table of the stub is no room.
    #[error("the section table of the stub has room for {room} more sections, and {wanted} are needed")]
    NoRoom {
        /// Headers that have a place.
        room: usize,
        /// Headers that need one.
        wanted: usize,
    },
    /// The kernel has no header of a bzImage.
    #[error("the kernel has no header of a bzImage")]
    NoKernel,
    /// Linux would unpack nothing of it.
    #[error("the initramfs is no cpio archive, and not in a compression of Linux")]
    NoInitramfs,
    /// The kernel would cut it off.
    #[error("the command line has {bytes} bytes, and the kernel takes {most}")]
    LongCommandLine {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that it may have.
        most: usize,
    },
    /// A byte that the stub or the kernel would make something else of.
    #[error("the command line has {what} at byte {at}; only printable ASCII and spaces can be in it")]
    BadCommandLine {
        /// What the byte is.
        what: String,
        /// Its number, from 0.
        at: usize,
    },
    /// Nothing is in it, and a stub without one takes that of whoever starts it.
    #[error("the command line is empty: the stub would take any that it is started with")]
    NoCommandLine,
    /// A text of the image is not what it should be.
    #[error("{name} {why}")]
    BadText {
        /// What it is.
        name: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// PE files have addresses of 32 bits.
    #[error("all parts together have more than the 4 GiB of a PE file")]
    TooLarge,
    /// A PE file, and no unified kernel image.
    #[error("the file is no unified kernel image: it has no section .linux")]
    NoImage,
    /// Two sections have one name, and which one counts differs between stubs.
    #[error("{part} has two sections {section}: which one is measured differs from stub to stub")]
    Twice {
        /// What has them.
        part: Part,
        /// Their name.
        section: String,
    },
    /// What is measured depends on more than the file.
    #[error(
        "{part} has a section {section}: what is measured of it depends on the machine, the chosen profile or the stub"
    )]
    Depends {
        /// What has it.
        part: Part,
        /// Its name, safe to show.
        section: String,
    },
}

fn known() -> String {
    format!("{} to {}", crate::KNOWN.start(), crate::KNOWN.end())
}
