//! `make demo`: the scenario with its result as tables. Exit code 0 only when everything planted is gone, the public
//! identity is unchanged, the secrets are new and the assurance is `host-rooted`.

use std::{env, path::PathBuf, process::ExitCode};

use cloud_machine_operation::Phase;
use cloud_machine_tests::{
    artifacts::Artifacts,
    program::Program,
    scenario::{self, Ended, Image, MACHINE},
};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde_json::Value;

fn main() -> ExitCode {
    match demo() {
        Ok(faults) if faults.is_empty() => {
            println!("\nresult: everything planted is gone, the identity is kept, the secrets are new");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            for fault in faults {
                eprintln!("FAULT: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<Vec<String>, String> {
    let artifacts = Artifacts::from_environment_without_image()?;
    let folder = image_folder()?;
    let program = Program::at(&artifacts, state_folder()?);
    // The demo can be run again at any time: what an earlier run left goes first.
    let deleted = program.call(["delete", MACHINE, "--yes"], b"");
    if deleted.code != 0 && deleted.code != 4 {
        return Err(deleted.errors);
    }
    let image = Image { folder: &folder, name: "debian-12" };
    let ended = scenario::run(image, &program, "qemu", &|phase| eprintln!("demo: {phase}"))?;
    show(&ended);
    let state = program.state().display();
    println!("\nthe machine still runs: `cloud-machine --state {state} ssh {MACHINE}`, then `… delete {MACHINE}`");
    Ok(ended.faults())
}

fn image_folder() -> Result<PathBuf, String> {
    let mut arguments = env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--image-folder"), Some(folder)) => Ok(folder.into()),
        _ => Err("usage: demo --image-folder FOLDER (see `images/build --help`)".to_owned()),
    }
}

fn state_folder() -> Result<PathBuf, String> {
    let cache = env::var_os("CLOUD_MACHINE_CACHE").map(PathBuf::from).or_else(|| {
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .map(|base| base.join("cloud-machine"))
    });
    Ok(cache.ok_or("set HOME, XDG_CACHE_HOME or CLOUD_MACHINE_CACHE")?.join("demo/state"))
}

fn show(ended: &Ended) {
    let mut planted = table(["planted by the job, as root", "before", "after the reimage"]);
    for item in &ended.items {
        let word = |there: bool| if there { "present" } else { "gone" };
        planted.add_row([item.planted.name, word(item.before), word(item.after)]);
    }
    println!("\n{planted}\n");
    let mut identity = table(["identity", "before", "after", ""]);
    for line in &ended.identity {
        let verdict = match (line.is_right(), line.kept) {
            (true, true) => "kept",
            (true, false) => "rotated",
            (false, _) => "WRONG",
        };
        identity.add_row([line.name, &shorten(&line.before), &shorten(&line.after), verdict]);
    }
    println!("{identity}\n");
    let verified = &ended.verification["machines"][0]["result"];
    println!("assurance: {} (does not cover: {})", ended.assurance(), text(&verified["does_not_cover"]));
    println!("report:    {}", text(&verified["report"]));
    let reimaged = &ended.reimage["machines"][0]["result"];
    for changed in reimaged["changed"].as_array().into_iter().flatten() {
        let (count, bytes) = (&changed["count"], &changed["bytes"]);
        println!(
            "evidence:  /dev/{} differed from the image in {count} extents, {bytes} bytes",
            text(&changed["device"])
        );
    }
    for ignored in reimaged["ignored_volumes"].as_array().into_iter().flatten() {
        println!(
            "evidence:  /dev/{} carries the volume's label: {}",
            text(&ignored["device"]),
            text(&ignored["reason"])
        );
    }
    println!();
    show_timings(ended);
}

fn show_timings(ended: &Ended) {
    let mut phases = table(["phase", "seconds"]);
    for (name, milliseconds) in &ended.phases {
        phases.add_row([name.clone(), seconds(*milliseconds as f64)]);
        if name == "reimage in place" {
            for phase in ended.reimage["machines"][0]["result"]["phases"].as_array().into_iter().flatten() {
                let milliseconds = phase["milliseconds"].as_f64().unwrap_or_default();
                let known = serde_json::from_value::<Phase>(phase["phase"].clone());
                let name = known.map_or_else(|_| text(&phase["phase"]), |phase| phase.to_string());
                phases.add_row([format!("- {name}"), seconds(milliseconds)]);
            }
        }
    }
    println!("{phases}\n");
    let mut steps = table(["step of the reimage", "outcome", "compared", "written", "zeroed", "read back", "seconds"]);
    for step in ended.reimage["machines"][0]["result"]["steps"].as_array().into_iter().flatten() {
        let bytes = |key: &str| step[key].as_u64().unwrap_or_default().to_string();
        steps.add_row([
            text(&step["id"]),
            text(&step["outcome"]["kind"]),
            bytes("compared_bytes"),
            bytes("written_bytes"),
            bytes("zeroed_bytes"),
            bytes("read_back_bytes"),
            seconds(step["milliseconds"].as_f64().unwrap_or_default()),
        ]);
    }
    println!("{steps}");
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn shorten(value: &str) -> String {
    if value.len() > 40 { format!("{}...", &value[value.len() - 37..]) } else { value.to_owned() }
}

fn seconds(milliseconds: f64) -> String {
    format!("{:.1}", milliseconds / 1000.0)
}
