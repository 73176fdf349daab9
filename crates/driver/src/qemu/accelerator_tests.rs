use std::os::unix::fs::PermissionsExt;

use cloud_machine_store::{Content, ImageSource, InstalledImage, Replacement};

use super::*;

/// A host whose QEMU is a shell script that counts its runs in the file `runs`.
struct Setting {
    folder: tempfile::TempDir,
    host: Host,
    store: Store,
    image: ImageFolder,
    qemu: Qemu,
}

fn setting(script: &str) -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    let source = ImageSource {
        packed: Content::Bytes(b"packed"),
        kernel: Content::Bytes(b"kernel"),
        initramfs: Content::Bytes(b"initramfs"),
        kernel_release: "6.1",
        agent: Content::Bytes(b"agent"),
        image: InstalledImage {
            generation: 1,
            digest: format!("blake3:{}", "ab".repeat(32)).parse().unwrap(),
            manifest: None,
        },
        facts: None,
        makes: &[],
        captured: None,
        signature: None,
    };
    let image = store.install_image(&"x".parse().unwrap(), &source, Replacement::default()).unwrap();
    let device = folder.path().join("kvm");
    let boot_id = folder.path().join("boot_id");
    fs::write(&device, "").unwrap();
    fs::write(&boot_id, "one\n").unwrap();
    let program = folder.path().join("qemu");
    let runs = folder.path().join("runs");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'QEMU test 1'; exit; fi\necho \"$*\" >> {}\n{script}\n",
        runs.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let host = Host { device, boot_id, limit: Duration::from_secs(1) };
    Setting { host, store, image, qemu: Qemu::new(program), folder }
}

impl Setting {
    fn decide(&self) -> Verdict {
        decide_on(&self.host, &self.qemu, &self.store.kvm_verdicts(), &self.image).unwrap()
    }

    fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn without_the_device_nothing_is_started() {
    let mut setting = setting("exit 1");
    setting.host.device = "/nonexistent/kvm".into();
    let verdict = setting.decide();
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert_eq!(verdict.cpu_model, "qemu64,-cx16,-svm");
    assert!(verdict.reason.starts_with("/nonexistent/kvm cannot be opened: No such file"), "{}", verdict.reason);
    assert!(setting.runs().is_empty() && !setting.store.kvm_verdicts().exists());
}

#[test]
fn the_marker_proves_kvm_also_in_two_pieces_and_the_machine_is_ended() {
    let setting = setting("printf 'booting\\ncloud-machine-ag'; sleep 0.2; printf 'ent: alive\\n'; exec sleep 60");
    let started = Instant::now();
    let verdict = setting.decide();
    assert_eq!(verdict.accelerator, Accelerator::Kvm);
    assert_eq!(verdict.cpu_model, "host");
    assert!(verdict.reason.starts_with("proved with processor model host in 0."), "{}", verdict.reason);
    assert!(started.elapsed() < Duration::from_secs(30));
    let runs = setting.runs();
    assert!(runs[0].contains("-accel kvm -cpu host") && runs[0].contains(PROBE_ARGUMENT), "{runs:?}");
}

#[test]
fn a_processor_model_that_qemu_aborts_on_is_followed_by_the_next() {
    let setting = setting(
        "case \"$*\" in *'-cpu host'*) echo 'bad MSR' >&2; kill -ABRT $$;; esac; echo 'cloud-machine-agent: alive'",
    );
    let verdict = setting.decide();
    assert_eq!((verdict.accelerator, verdict.cpu_model.as_str()), (Accelerator::Kvm, "max"));
}

#[test]
fn silence_is_tcg_after_one_try_with_the_reason() {
    let setting = setting("echo 'SeaBIOS'; exec sleep 60");
    let verdict = setting.decide();
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert_eq!(verdict.reason, "KVM does not work: with host the agent did not answer within 1 s");
    assert_eq!(setting.runs().len(), 1);
}

#[test]
fn qemus_own_words_are_in_the_reason_harmless() {
    let setting = setting("printf 'ioctl(KVM_CREATE_VM) failed\\033[2J' >&2; exit 1");
    assert_eq!(
        setting.decide().reason,
        "KVM does not work: with host QEMU ended with exit status: 1: ioctl(KVM_CREATE_VM) failed\\u{1b}[2J; \
         with max QEMU ended with exit status: 1: ioctl(KVM_CREATE_VM) failed\\u{1b}[2J"
    );
}

#[test]
fn a_console_without_end_is_not_read_without_end() {
    let mut setting = setting("exec yes");
    setting.host.limit = Duration::from_secs(30);
    assert!(setting.decide().reason.ends_with("the console said more than 4194304 bytes"));
}

#[test]
fn a_verdict_is_remembered_until_the_circumstances_change() {
    let mut setting = setting("echo 'cloud-machine-agent: alive'");
    let first = setting.decide();
    assert_eq!(setting.decide(), first);
    assert_eq!(setting.runs().len(), 1, "the second verdict was remembered");
    fs::write(&setting.host.boot_id, "two\n").unwrap();
    setting.decide();
    assert_eq!(setting.runs().len(), 2, "another boot of the host");
    setting.image.boot.kernel = format!("sha256:{}", "ef".repeat(32)).parse().unwrap();
    setting.decide();
    setting.decide();
    assert_eq!(setting.runs().len(), 3, "another kernel");
    for broken in ["", "{\"version\": 2, \"verdicts\": []}"] {
        fs::write(setting.store.kvm_verdicts(), broken).unwrap();
        setting.decide();
        setting.decide();
    }
    assert_eq!(setting.runs().len(), 5, "what cannot be read is proved again, once");
}

#[test]
fn the_installed_qemu_does_not_prove_kvm_with_a_kernel_that_is_none() {
    let setting = setting("");
    let verdict =
        decide(&Qemu::default(), &setting.store, &setting.image).expect("install the package qemu-system-x86");
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert!(!verdict.reason.is_empty() && !verdict.reason.chars().any(char::is_control), "{}", verdict.reason);
}
