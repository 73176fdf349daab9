//! A unified kernel image in a machine with UEFI firmware under secure boot and with a TPM: one boot, in which firmware refuses the
//! image that nobody signed, starts the other, and the TPM holds what was expected.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{PACK, Workspace};

/// Firmware, kernel and agent take 12 s of a processor.
const LIMIT: Duration = Duration::from_secs(240);
/// Variables of the firmware that have the certificate of this key, with secure boot on; both are of package ovmf.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";
const KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil";

/// Asks the TPM behind the control socket `tpm/sock` for PCR 4, 11 and 12, bank of SHA-256: swtpm's control channel takes a socket for
/// commands (CMD_SET_DATAFD, 0x10), then TPM2_PCR_Read (0x17e) of the TPM 2.0 Library, part 3.
const READ: &str = "
import socket, struct
control = socket.socket(socket.AF_UNIX); control.connect('tpm/sock')
ours, theirs = socket.socketpair(); ours.settimeout(60)
socket.send_fds(control, [struct.pack('>I', 0x10)], [theirs.fileno()])
assert control.recv(4) == bytes(4)
ours.sendall(struct.pack('>HIIIHB3B', 0x8001, 20, 0x17e, 1, 0x0b, 3, 0x10, 0x18, 0))
answer = ours.recv(4096)
assert answer[6:10] == bytes(4), answer.hex()
print(*(answer[at:][:32].hex() for at in (-100, -66, -32)))
";

/// PCR 4 after a first try that firmware refused and a program with the digest of the first argument (TCG PC Client Platform Firmware
/// Profile 1.06, 3.3.4.5).
const SECOND_TRY: &str = "
import hashlib, sys
of = lambda event: hashlib.sha256(event).digest()
action = lambda word: of(word + b\" EFI Application from Boot Option\")
pcr = bytes(32)
for event in action(b\"Calling\"), of(bytes(4)), action(b\"Returning from\"), action(b\"Calling\"), bytes.fromhex(sys.argv[1]):
    pcr = of(pcr + event)
print(pcr.hex())
";

/// A program that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(workspace: &Workspace, program: &str, arguments: &str) -> Ended {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir(&workspace.folder).stdin(Stdio::null());
    Ended(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
}

fn wait_for(what: &str, found: impl Fn() -> bool, folder: &Path) {
    let deadline = Instant::now() + LIMIT;
    while !found() {
        let console = fs::read(folder.join("console")).unwrap_or_default();
        assert!(Instant::now() < deadline, "no {what}:\n{}", String::from_utf8_lossy(&console));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn firmware_starts_only_what_is_signed_and_the_tpm_holds_what_was_expected() {
    let workspace = Workspace::new();
    let line = "console=ttyS0 panic=-1 cloudmachine.other=1";
    workspace.shell(&format!(
        "{PACK} disk.raw; openssl pkey -in {KEY}.key -passin pass:snakeoil -out snakeoil.key
         cloud-machine image uki unsigned.efi --image demo --cmdline quiet --quiet
         cloud-machine image uki signed.efi --image demo --cmdline '{line}' --efi-key snakeoil.key --efi-cert {KEY}.pem --quiet
         for name in unsigned signed; do
             truncate -s 40M $name.img; mkfs.vfat $name.img; mmd -i $name.img ::/EFI ::/EFI/BOOT
             mcopy -i $name.img $name.efi ::/EFI/BOOT/BOOTX64.EFI
         done
         mkdir tpm; cp {VARIABLES} variables"
    ));
    let measured = workspace.shell("cloud-machine image measure signed.efi --output json");
    let measured: Value = serde_json::from_str(&measured).unwrap();
    let there = |path: &str| workspace.folder.join(path).exists();
    let _tpm = start(
        &workspace,
        "swtpm",
        "socket --tpm2 --tpmstate dir=tpm --ctrl type=unixio,path=tpm/sock --flags startup-clear",
    );
    wait_for("TPM", || there("tpm/sock"), &workspace.folder);
    // Stays when its system switches itself off: the TPM would go with it. Why this processor: docs/rationale.md.
    let machine = start(
        &workspace,
        "qemu-system-x86_64",
        "-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on -accel tcg -cpu qemu64,-cx16,-svm -m 256 \
         -nodefaults -no-user-config -display none -no-reboot -no-shutdown -serial file:console \
         -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd \
         -drive if=pflash,unit=1,format=raw,file=variables \
         -drive if=none,id=first,format=raw,file=unsigned.img,readonly=on -device virtio-blk-pci,drive=first,bootindex=0 \
         -drive if=none,id=second,format=raw,file=signed.img,readonly=on -device virtio-blk-pci,drive=second,bootindex=1 \
         -chardev socket,id=tpm,path=tpm/sock -tpmdev emulator,id=tpm,chardev=tpm -device tpm-crb,tpmdev=tpm \
         -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng -device virtio-serial-pci \
         -chardev file,id=agent,path=said -device virtserialport,chardev=agent,name=cloud-machine.agent.0",
    );
    let said = || fs::read_to_string(workspace.folder.join("said")).unwrap_or_default();
    wait_for("report of the agent", || said().lines().count() >= 2, &workspace.folder);
    // Killed, so that QEMU does not end the TPM.
    drop(machine);
    let console = fs::read(workspace.folder.join("console")).unwrap();
    let console = String::from_utf8_lossy(&console);
    assert!(console.contains("Access Denied"), "{console}");
    assert!(console.contains("UEFI Secure Boot is enabled"), "{console}");
    assert!(console.contains(&format!("Command line: {line}")), "{console}");
    let said = said();
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    assert_eq!(said[0]["kind"], "hello");
    assert_eq!(said[1]["agent"]["kernel_release"], measured["value"]["kernel_release"]);
    fs::write(workspace.folder.join("read.py"), READ).unwrap();
    let found = workspace.shell("python3 read.py");
    let [pcr4, pcr11, pcr12] = found.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
    // The refused image comes between what is expected of a first try: firmware returned from it, and called the next one.
    let authenticode = measured["value"]["authenticode"]["sha256"].as_str().unwrap();
    assert_eq!(pcr4, workspace.shell(&format!("python3 -c '{SECOND_TRY}' {authenticode}")).trim());
    assert_eq!(measured["value"]["pcr11"][0]["phase"], ":");
    assert_eq!(measured["value"]["pcr11"][0]["sha256"], pcr11);
    // No command line, credential or addon came from elsewhere.
    assert_eq!(pcr12, "0".repeat(64));
}
