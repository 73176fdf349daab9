//! What PCR 4 and 11 hold after a boot (UAPI.7, Linux TPM PCR Registry): firmware measures the file as a program, the stub name and
//! content of each section, then systemd the words of the boot. Must not say what a value proves.

use object::LittleEndian as LE;
use sha2::{Digest, Sha256, Sha384};

use crate::{
    MEASURED, authenticode,
    error::{Part, UkiError},
    pcr::{Pcr, hexadecimal},
    pe::{Pe, raw_name, shown_name},
    stub::Stub,
};

/// Boot phases as systemd-measure(1) writes them: the words that systemd-pcrphase.service(8) has measured so far. `:` is before the
/// first of them, which is all that an initramfs without systemd ever sees.
pub const PHASES: [&str; 5] = [
    ":",
    "enter-initrd",
    "enter-initrd:leave-initrd",
    "enter-initrd:leave-initrd:sysinit",
    "enter-initrd:leave-initrd:sysinit:ready",
];

/// What is known of an image from its bytes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The stub as it calls itself, such as `systemd-stub 252.39-1~deb12u2`.
    pub stub: String,
    /// The kernel's release as the image states it; printable ASCII.
    pub uname: Option<String>,
    /// The kernel's command line; printable ASCII, other bytes escaped.
    pub command_line: Option<String>,
    /// Whether it carries a signature. Nobody checked it.
    pub is_signed: bool,
    /// All sections that have a meaning in an image, as they lie in it.
    pub sections: Vec<Section>,
    /// The file as firmware measures it; `None` when it is laid out so that signers and firmware hash different bytes of it.
    pub program: Option<Program>,
    /// PCR 11 at each of [`PHASES`].
    pub phases: Vec<PhaseValue>,
}

/// What firmware measures of a program of EFI that it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its Authenticode digest, by which `db` and `dbx` of secure boot name a program as well. A signature leaves it as it is.
    pub authenticode: Value,
    /// PCR 4 when firmware starts it by itself, and it was the first that it tried.
    pub pcr4: Value,
}

/// A digest, or a register in two banks; lowercase hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// SHA-256: 64 digits.
    pub sha256: String,
    /// SHA-384: 96 digits.
    pub sha384: String,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Bytes of its content.
    pub bytes: u64,
    /// Whether this stub measures it.
    pub is_measured: bool,
}

/// PCR 11 at one boot phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseValue {
    /// The phase, one of [`PHASES`].
    pub phase: &'static str,
    /// The register in both banks.
    pub value: Value,
}

/// What an image will have measured into PCR 4 and 11. The bytes may be anything.
///
/// # Errors
/// A [`UkiError`] when they are no such image, are damaged, or when more than these bytes decides what is measured.
pub fn measure(image: &[u8]) -> Result<Measured, UkiError> {
    let image = Pe::read(image, Part::Image)?;
    if image.find(".linux").is_none() {
        return Err(UkiError::NoImage);
    }
    let stub = Stub::of(&image, Part::Image)?;
    check_names(&image, Part::Image)?;
    let mut events: Vec<&[u8]> = Vec::new();
    let names: Vec<String> = MEASURED.iter().map(|(name, _)| format!("{name}\0")).collect();
    for ((name, since), event) in MEASURED.iter().zip(&names) {
        let Some(section) = image.find(name).filter(|_| stub.version >= *since) else { continue };
        let content = image.content(section)?;
        if !content.is_empty() {
            events.extend([event.as_bytes(), content]);
        }
    }
    let (sha256, sha384) = (Pcr::<Sha256>::after(&events), Pcr::<Sha384>::after(&events));
    let phases = PHASES.iter().map(|phase| PhaseValue {
        phase,
        value: Value { sha256: at(sha256.clone(), phase).text(), sha384: at(sha384.clone(), phase).text() },
    });
    let text = |name: &str| -> Result<Option<String>, UkiError> {
        let content = image.find(name).map(|section| image.content(section)).transpose()?;
        Ok(content.map(|content| content.escape_ascii().to_string()))
    };
    Ok(Measured {
        uname: text(".uname")?,
        command_line: text(".cmdline")?,
        is_signed: image.signatures.is_some(),
        sections: sections(&image, &stub),
        program: program(&image),
        phases: phases.collect(),
        stub: stub.name,
    })
}

/// Refuses names of which stubs may make different things: two of one name, and one that begins with a name that is measured, by
/// which old stubs take it for that (such as `.dtbauto`). The others depend on a machine or on a choice (systemd-stub(7)).
pub(crate) fn check_names(image: &Pe<'_>, part: Part) -> Result<(), UkiError> {
    const DEPEND: [&[u8]; 3] = [b".profile", b".hwids", b".efifw"];
    for (index, section) in image.sections.iter().enumerate() {
        let name = raw_name(section);
        let known = MEASURED.iter().map(|(known, _)| known.as_bytes()).find(|known| name.starts_with(known));
        if known.is_some_and(|known| known != name) || DEPEND.contains(&name) {
            return Err(UkiError::Depends { part, section: shown_name(section) });
        }
        let before = image.sections.get(..index).unwrap_or_default();
        if known.is_some() && before.iter().any(|other| raw_name(other) == name) {
            return Err(UkiError::Twice { part, section: shown_name(section) });
        }
    }
    Ok(())
}

/// The register when the words of `phase` have been measured, too.
fn at<D: Digest>(pcr: Pcr<D>, phase: &str) -> Pcr<D> {
    phase.split(':').filter(|word| !word.is_empty()).fold(pcr, |pcr, word| pcr.extended(word.as_bytes()))
}

fn program(image: &Pe<'_>) -> Option<Program> {
    let covered = authenticode::covered(image)?;
    let (sha256, sha384) = (authenticode::digest::<Sha256>(&covered), authenticode::digest::<Sha384>(&covered));
    Some(Program {
        authenticode: Value { sha256: hexadecimal(&sha256), sha384: hexadecimal(&sha384) },
        pcr4: Value {
            sha256: authenticode::pcr4::<Sha256>(sha256).text(),
            sha384: authenticode::pcr4::<Sha384>(sha384).text(),
        },
    })
}

fn sections(image: &Pe<'_>, stub: &Stub) -> Vec<Section> {
    let of = |section| {
        let (name, since) = MEASURED.iter().find(|(name, _)| name.as_bytes() == raw_name(section))?;
        let bytes = section.virtual_size.get(LE);
        Some(Section { name, bytes: u64::from(bytes), is_measured: bytes > 0 && stub.version >= *since })
    };
    image.sections.iter().filter_map(of).collect()
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
