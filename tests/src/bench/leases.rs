//! Leases that are taken and given back by several processes at once, through the library that the program has. Owns how they are
//! counted; must not judge how many are enough.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_protocol::MachineName;
use cloud_machine_store::{Store, StoreError};

/// Processes at once.
const PROCESSES: u64 = 8;
/// Machines of which each takes one at random.
const MACHINES: u64 = 1000;
/// How long a lease may last: longer than all of this.
const HOUR: Duration = Duration::from_secs(3600);

/// What several processes did.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    /// Pairs of taking and giving back, of all processes together, each second.
    pub rate: f64,
    /// What half of the pairs took at most, in milliseconds.
    pub median: f64,
    /// What 99 of 100 pairs took at most.
    pub most: f64,
    /// What the slowest took.
    pub slowest: f64,
}

/// Takes leases and gives them back in the state folder `state` for so many seconds, by processes of this program, which has to
/// call [`work`] when it is started as `work STATE SECONDS SEED`.
///
/// # Errors
/// A text, when a process failed.
pub fn measure(state: &Path, seconds: u64) -> Result<Leases, String> {
    Store::open(state).map_err(|error| error.to_string())?;
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let start = |seed: u64| {
        let mut command = Command::new(&program);
        command.arg("work").arg(state).args([seconds, seed].map(|number| number.to_string()));
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("start a process: {error}"))
    };
    let children = (0..PROCESSES).map(start).collect::<Result<Vec<_>, _>>()?;
    let mut times: Vec<f64> = Vec::new();
    for child in children {
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("a process ended with {}", output.status));
        }
        times.extend(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse::<f64>().ok()));
    }
    times.sort_by(f64::total_cmp);
    let last = times.len().checked_sub(1).ok_or("no lease was taken")?;
    let at = |percent: usize| times[last * percent / 100];
    Ok(Leases { rate: times.len() as f64 / seconds as f64, median: at(50), most: at(99), slowest: at(100) })
}

/// One of the processes: prints how many milliseconds each pair took, at the end, so that printing is not measured.
///
/// # Errors
/// Those of the store, but for a lease that another process has.
pub fn work(state: &Path, seconds: u64, seed: u64) -> Result<(), String> {
    let failed = |error: StoreError| error.to_string();
    let store = Store::open(state).map_err(failed)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut random, mut times) = (seed * 7919 + 1, String::new());
    while Instant::now() < end {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name: MachineName =
            format!("ci-{}", (random >> 33) % MACHINES).parse().map_err(|error| format!("{error}"))?;
        let began = Instant::now();
        match store.take_lease(&name, "bench", HOUR) {
            Ok(lease) => store.give_back_lease(&name, lease.number).map_err(failed)?,
            Err(StoreError::Leased { .. }) => continue,
            Err(error) => return Err(failed(error)),
        }
        times.push_str(&format!("{}\n", began.elapsed().as_secs_f64() * 1000.0));
    }
    print!("{times}");
    Ok(())
}
