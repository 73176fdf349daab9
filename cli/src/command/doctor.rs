//! `doctor`: what this host has and lacks, and how to get it.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use cloud_machine_driver::child::{self, Bounds};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::Global,
    failure::{Failure, Kind, causes},
    ui::{Show, Ui},
};

/// Programs that the host needs: name, what it is for, the Debian package.
const PROGRAMS: [(&str, &str, &str); 5] = [
    ("qemu-system-x86_64", "runs machines", "qemu-system-x86"),
    ("qemu-img", "makes overlays and dirty maps, packs qcow2 images", "qemu-utils"),
    ("qemu-nbd", "reads dirty maps", "qemu-utils"),
    ("ssh", "logs in to machines", "openssh-client"),
    ("mmdebstrap", "builds golden images (only for that)", "mmdebstrap"),
];

/// What a program may take to say its version.
const VERSION: Bounds = Bounds { limit: Duration::from_secs(20), output: 64 << 10 };

#[derive(Serialize)]
struct Findings {
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    what: String,
    verdict: Verdict,
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    Slow,
    Missing,
}

impl Show for Findings {
    const KIND: &'static str = "doctor";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        for finding in &self.findings {
            let verdict = match finding.verdict {
                Verdict::Good => "good",
                Verdict::Slow => "slow",
                Verdict::Missing => "missing",
            };
            table.add_row([verdict, &finding.what, &finding.detail]);
        }
        table.to_string()
    }
}

pub(crate) fn run(ui: &Ui, global: &Global) -> Result<ExitCode, Failure> {
    let mut findings: Vec<Finding> =
        PROGRAMS.iter().map(|(name, purpose, package)| program(name, purpose, package)).collect();
    findings.push(kvm());
    findings.push(state(global));
    let missing = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    ui.result(&Findings { findings })?;
    Ok(if missing { ExitCode::from(Kind::Failed as u8) } else { ExitCode::SUCCESS })
}

fn program(name: &str, purpose: &str, package: &str) -> Finding {
    let version = if name == "ssh" { "-V" } else { "--version" };
    let found = child::run(Command::new(name).arg(version), VERSION);
    let (verdict, detail) = match found {
        Ok(output) => {
            let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
            let first = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
            (Verdict::Good, first)
        }
        Err(error) => {
            (Verdict::Missing, format!("{purpose}: {}; `apt-get install {package}` brings it", causes(&error)))
        }
    };
    Finding { what: name.to_owned(), verdict, detail }
}

/// Whether KVM may work; whether it runs a given kernel is proved when a machine is started.
fn kvm() -> Finding {
    let path = Path::new("/dev/kvm");
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(path);
    let (verdict, detail) = match opened {
        Ok(_) => (Verdict::Good, "opens; it is proved with the image's kernel before it is used".to_owned()),
        Err(error) => (Verdict::Slow, format!("{error}; machines run in software emulation, many times slower")),
    };
    Finding { what: path.display().to_string(), verdict, detail }
}

fn state(global: &Global) -> Finding {
    let what = "state folder".to_owned();
    let opened = crate::open_store(global).and_then(|store| store.check_writable().map(|()| store).map_err(Into::into));
    match opened {
        Ok(store) => Finding { what, verdict: Verdict::Good, detail: store.root().display().to_string() },
        Err(failure) => Finding { what, verdict: Verdict::Missing, detail: failure.causes().join(": ") },
    }
}
