//! A stub, a kernel and an image that tests make, small and of known bytes.

use object::{
    LittleEndian as LE, U16, U32, U64,
    pe::{
        self, ImageDataDirectory, ImageDosHeader, ImageFileHeader, ImageNtHeaders64, ImageOptionalHeader64,
        ImageSectionHeader,
    },
    pod::{bytes_of, bytes_of_mut},
};

use crate::{Parts, build};

pub(crate) const LINE: &str = "console=ttyS0 quiet";
pub(crate) const RELEASE: &str = "6.1.0-56-cloud-amd64";

/// The headers of a program of EFI for x86-64 with sections of these names and contents, `headers` bytes in front of the first.
pub(crate) fn program(headers: usize, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let zeros = |bytes: &mut [u8]| bytes.fill(0);
    let mut dos = *object::pod::from_bytes::<ImageDosHeader>(&[0; 64]).unwrap().0;
    zeros(bytes_of_mut(&mut dos));
    dos.e_magic = U16::new(LE, pe::IMAGE_DOS_SIGNATURE);
    dos.e_lfanew = U32::new(LE, 64);
    let mut nt = *object::pod::from_bytes::<ImageNtHeaders64>(&[0; size_of::<ImageNtHeaders64>()]).unwrap().0;
    nt.signature = U32::new(LE, pe::IMAGE_NT_SIGNATURE);
    let file: &mut ImageFileHeader = &mut nt.file_header;
    file.machine = U16::new(LE, pe::IMAGE_FILE_MACHINE_AMD64);
    file.number_of_sections = U16::new(LE, sections.len() as u16);
    file.size_of_optional_header = U16::new(LE, (size_of::<ImageOptionalHeader64>() + 16 * 8) as u16);
    let optional: &mut ImageOptionalHeader64 = &mut nt.optional_header;
    optional.magic = U16::new(LE, pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC);
    optional.section_alignment = U32::new(LE, 512);
    optional.file_alignment = U32::new(LE, 512);
    optional.size_of_headers = U32::new(LE, headers as u32);
    optional.subsystem = U16::new(LE, pe::IMAGE_SUBSYSTEM_EFI_APPLICATION);
    optional.number_of_rva_and_sizes = U32::new(LE, 16);
    optional.image_base = U64::new(LE, 0);
    let mut table = Vec::new();
    let mut data = Vec::new();
    for (index, (name, content)) in sections.iter().enumerate() {
        let mut header = *object::pod::from_bytes::<ImageSectionHeader>(&[0; 40]).unwrap().0;
        header.name[..name.len()].copy_from_slice(name.as_bytes());
        header.virtual_size = U32::new(LE, content.len() as u32);
        header.virtual_address = U32::new(LE, 0x1000 * (index as u32 + 1));
        header.pointer_to_raw_data = U32::new(LE, (headers + data.len()) as u32);
        data.extend_from_slice(content);
        data.resize(data.len().next_multiple_of(512), 0);
        header.size_of_raw_data = U32::new(LE, (headers + data.len()) as u32 - header.pointer_to_raw_data.get(LE));
        table.extend_from_slice(bytes_of(&header));
    }
    nt.optional_header.size_of_image = U32::new(LE, 0x1000 * (sections.len() as u32 + 1));
    let mut bytes = bytes_of(&dos).to_vec();
    bytes.extend_from_slice(bytes_of(&nt));
    bytes.extend_from_slice(&[0; 16 * size_of::<ImageDataDirectory>()]);
    bytes.extend_from_slice(&table);
    assert!(bytes.len() <= headers);
    bytes.resize(headers, 0);
    bytes.extend_from_slice(&data);
    bytes
}

/// A stub of a version of systemd.
pub(crate) fn stub(version: &str) -> Vec<u8> {
    let magic = format!("#### LoaderInfo: systemd-stub {version} ####");
    program(1024, &[(".text", b"code"), (".sbat", b"sbat,1\n"), (".sdmagic", magic.as_bytes())])
}

/// A kernel of `program`'s headers with those of a bzImage: a command line of 2047 bytes, release 6.1.0-56-cloud-amd64.
pub(crate) fn kernel() -> Vec<u8> {
    let mut bytes = program(1024, &[(".text", &[7; 600])]);
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x20e, &0x0100_u16.to_le_bytes());
    put(0x238, &2047_u32.to_le_bytes());
    put(0x300, RELEASE.as_bytes());
    put(0x300 + RELEASE.len(), b" (debian)\0");
    bytes
}

/// What `change` makes of parts that are right.
pub(crate) fn with<T>(change: impl FnOnce(&mut Parts<'_>) -> T) -> T {
    let (stub, kernel) = (stub("252.39-1~deb12u2"), kernel());
    let mut parts = Parts {
        stub: &stub,
        kernel: &kernel,
        initramfs: b"070701 archive",
        command_line: LINE,
        os_release: "ID=debian\n",
        uname: RELEASE,
    };
    change(&mut parts)
}

/// An image with the stub of that version.
pub(crate) fn image(version: &str) -> Vec<u8> {
    let stub = stub(version);
    with(|parts| build(&Parts { stub: &stub, ..*parts }).unwrap())
}
