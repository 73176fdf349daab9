//! Unified kernel images, given to the program: what systemd's own program says of them, what `sbverify` says, and what is refused.

use serde_json::Value;

use crate::{PACK, Workspace};

/// Makes pairs of keys with certificates, NAME.key and NAME.pem.
pub(crate) const KEYS: &str = "for name in one two; do openssl req -new -x509 -newkey rsa:2048 -nodes -days 30 \
    -keyout $name.key -out $name.pem -subj /CN=$name 2>/dev/null; done";
const LINE: &str = "console=ttyS0 panic=-1";

fn json(workspace: &Workspace, call: &str) -> Value {
    serde_json::from_str(&workspace.shell(&format!("{call} --output json"))).unwrap()
}

#[test]
fn systemd_expects_the_same_values_and_the_signature_is_good() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw; {KEYS}"));
    let made = json(&workspace, &format!("cloud-machine image uki a.efi --image demo --cmdline '{LINE}'"));
    let measured = json(&workspace, "cloud-machine image measure a.efi");
    assert_eq!(made, measured);
    assert_eq!(measured["kind"], "uki");
    assert_eq!(measured["value"]["signature"], "none");
    workspace.shell(&format!(
        "printf '%s' '{LINE}' > line; printf 'ID=linux\\nPRETTY_NAME=\"demo, Linux %s\"\\n' '{}' > release",
        measured["value"]["kernel_release"].as_str().unwrap()
    ));
    for phase in measured["value"]["pcr11"].as_array().unwrap() {
        let said = workspace.shell(&format!(
            "/lib/systemd/systemd-measure calculate --linux=vmlinuz --initrd=state/images/demo/initramfs --cmdline=line \
             --osrel=release --bank=sha256 --bank=sha384 --phase={} 2>/dev/null",
            phase["phase"].as_str().unwrap()
        ));
        let value = |bank: &str| phase[bank].as_str().unwrap();
        assert_eq!(said, format!("11:sha256={}\n11:sha384={}\n", value("sha256"), value("sha384")), "{phase}");
    }
    // A signature changes nothing that is measured, and the same parts give the same file.
    let build = format!("cloud-machine image uki b.efi --image demo --cmdline '{LINE}'");
    let signed = json(&workspace, &format!("{build} --efi-key one.key --efi-cert one.pem"));
    assert_eq!(signed["value"]["signature"], "verified");
    for same in ["pcr11", "pcr4", "authenticode"] {
        assert_eq!(signed["value"][same], made["value"][same], "{same}");
    }
    // What sbsign signed is the digest that firmware will measure.
    let digest = signed["value"]["authenticode"]["sha256"].as_str().unwrap().to_uppercase();
    let signature = workspace.shell("sbattach --detach b.sig b.efi && openssl asn1parse -inform der -in b.sig");
    assert!(signature.contains(&format!("[HEX DUMP]:{digest}\n")), "{digest}: {signature}");
    assert_eq!(json(&workspace, "cloud-machine image measure b.efi")["value"]["signature"], "unchecked");
    workspace.shell("sbverify --cert one.pem b.efi");
    assert_ne!(workspace.call("sbverify --cert two.pem b.efi").code, 0);
    workspace.shell(&format!("{build} --replace; cmp a.efi b.efi"));
    // Another command line, another value.
    let other = json(&workspace, "cloud-machine image uki c.efi --image demo --cmdline quiet");
    assert_ne!(other["value"]["pcr11"], made["value"]["pcr11"]);
}

#[test]
fn nobody_may_read_more_of_it_than_of_its_parts_and_of_the_file_before() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw"));
    workspace.shell("cp state/images/demo/initramfs open; cp open closed; chmod 644 open; chmod 600 closed; printf 'ID=x\n' > release; chmod 600 release");
    let build = "cloud-machine image uki --quiet --kernel vmlinuz --cmdline a --initramfs";
    for (call, mode) in [
        ("open a.efi", "644"),
        ("closed b.efi", "600"),
        ("open --os-release release c.efi", "600"),
        ("closed a.efi --replace", "600"),
        ("open a.efi --replace", "600"),
    ] {
        let file = call.split(' ').find(|word| word.ends_with(".efi")).unwrap();
        let found = workspace.shell(&format!("{build} {call} >&2 && stat -c %a {file}"));
        assert_eq!(found, format!("{mode}\n"), "{call}");
    }
    workspace.shell("chmod 640 c.efi");
    assert_eq!(workspace.shell(&format!("{build} open c.efi --replace >&2 && stat -c %a c.efi")), "640\n");
}

#[test]
fn a_signal_leaves_nothing_beside() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw; {KEYS}"));
    // In the place of sbsign, one that never ends.
    workspace.shell("printf '#!/bin/sh\\ntouch signing; exec sleep 300\\n' > sbsign; chmod 755 sbsign");
    let left = workspace.shell(
        "cloud-machine image uki y.efi --image demo --cmdline a --efi-key one.key --efi-cert one.pem >&2 & \
         until test -e signing; do kill -0 $!; sleep 0.05; done; ls -A | grep -c '^\\.write\\.'; \
         kill $!; code=0; wait $! || code=$?; echo $code; ls -A | grep -e '^\\.write' -e '^y' || echo nothing",
    );
    assert_eq!(left, "2\n143\nnothing\n");
}

#[test]
fn what_cannot_be_built_is_refused_and_leaves_nothing() {
    let workspace = Workspace::new();
    workspace
        .shell(&format!("{PACK} disk.raw; {KEYS}; openssl pkey -aes256 -passout pass:x -in one.key -out locked.key"));
    workspace.shell("cp vmlinuz there.efi; head -c 2000 vmlinuz > cut; mkfifo pipe; ln -s /dev/null link.efi");
    let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    let signed = "y.efi --image demo --cmdline a --efi-cert one.pem --efi-key";
    for (call, code, texts) in [
        ("there.efi --image demo --cmdline a", 1, &["there.efi is there already", "--replace"][..]),
        ("link.efi --image demo --cmdline a --replace", 1, &["no plain file"]),
        ("no/y.efi --image demo --cmdline a", 4, &["there is no folder no"]),
        ("y.efi --image other --cmdline a", 4, &["other"]),
        ("y.efi --image demo --cmdline a --stub no", 4, &["cannot read no", "apt-get install systemd-boot-efi"]),
        ("y.efi --image demo --cmdline a --stub vmlinuz", 3, &["the stub has no stub of systemd", "systemd-boot-efi"]),
        ("y.efi --image demo --cmdline a --stub disk.raw", 3, &["the stub is no EFI program"]),
        ("y.efi --kernel disk.raw --initramfs state/images/demo/initramfs --cmdline a", 3, &["no header of a bzImage"]),
        ("y.efi --kernel cut --initramfs state/images/demo/initramfs --cmdline a", 3, &["the kernel is cut off"]),
        ("y.efi --image demo --initramfs disk.raw --cmdline a", 3, &["the initramfs is no cpio archive"]),
        ("y.efi --kernel vmlinuz --cmdline a", 2, &["--initramfs"]),
        (
            "there.efi --kernel there.efi --initramfs state/images/demo/initramfs --cmdline a --replace",
            2,
            &["there.efi is to be made of there.efi, which is the same file"],
        ),
        ("y.efi --image demo --cmdline \"$(printf 'a\\nb')\"", 3, &["an end of line at byte 1"]),
        ("y.efi --image demo --cmdline \"$(printf %3000s x)\"", 3, &["has 3000 bytes, and the kernel takes 2047"]),
        ("y.efi --image demo --cmdline ' '", 3, &["the command line is empty"]),
        ("y.efi --image demo --cmdline a --os-release line", 4, &["cannot read line"]),
        (&format!("{signed} two.key"), 3, &["two.key is not that of the certificate in one.pem"]),
        (&format!("{signed} locked.key"), 3, &["locked.key has a password", "openssl pkey"]),
        (&format!("{signed} one.pem"), 3, &["one.pem has no private key in PEM"]),
        (&format!("{signed} no.key"), 4, &["cannot read no.key"]),
        (&format!("{signed} pipe"), 3, &["pipe is no plain file", "read twice"]),
        (&format!("{signed} /dev/stdin <<end\nkey\nend"), 3, &["/dev/stdin is no plain file"]),
        ("y.efi --image demo --cmdline a --efi-key one.key --efi-cert pipe", 3, &["pipe is no plain file"]),
        (&format!("{signed} one.key --image demo --stub b.efi"), 2, &[]),
    ] {
        workspace.refused(&format!("cloud-machine image uki {call}"), code, texts);
    }
    workspace.refused(
        &format!("PATH=. cloud-machine image uki {signed} one.key"),
        4,
        &["cannot sign with sbsign", "apt-get install sbsigntool"],
    );
    for (call, code, text) in [
        ("disk.raw", 3, "is no EFI program"),
        ("vmlinuz", 3, "no section .linux"),
        (stub, 3, "no section .linux"),
        ("no.efi", 4, "cannot read no.efi"),
    ] {
        workspace.refused(&format!("cloud-machine image measure {call}"), code, &[text]);
    }
    workspace.shell(
        "cloud-machine image uki whole.efi --image demo --cmdline a --quiet; head -c 9000000 whole.efi > half.efi",
    );
    workspace.refused("cloud-machine image measure half.efi", 3, &["half.efi", "section .linux is not all there"]);
    workspace.refused("cloud-machine image uki y.efi --image demo --cmdline a --stub whole.efi", 3, &["a whole image"]);
    assert_eq!(workspace.shell("ls -A | grep -e '^\\.write' -e '^y' || echo nothing"), "nothing\n");
    assert!(workspace.shell("cmp vmlinuz there.efi && readlink link.efi").contains("/dev/null"));
}
