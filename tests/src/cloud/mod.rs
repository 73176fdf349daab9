//! A cloud of a test's own: the Hetzner Cloud API v1 as its description has it (tests/fixtures/cloud), on a loopback network of
//! its own, before machines of a kind that is exchanged. Knows nothing of our driver. Must not outlive its test.
//!
//! The description says of errors only that they are 4xx or 5xx; which of them it is, and the codes, are as the provider's reference names
//! them, and its library judges some. What is asked for and is not here (volumes, networks, backups, servers without IPv4) is refused.
//! Not as the provider has it: a rescue system that is set is not cleared after an hour, and all servers have the same memory and disk.

mod actions;
mod catalog;
pub mod client;
mod faults;
mod images;
mod input;
mod keys;
mod limit;
mod listing;
pub mod machines;
pub mod qemu;
mod refusal;
mod routes;
mod server_actions;
mod servers;
mod state;
mod wire;

use std::{
    io::{self, BufReader},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;

pub use faults::{Fault, Injected};
use machines::Machines;
use routes::Outcome;
use state::{Image, State, now};

/// Whoever listens here has the loopback network 127.B.C.0/24 to itself.
const PORT: u16 = 8480;

/// How a cloud behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whoever knows it may do everything.
    pub token: String,
    /// How long an action takes besides what the machines need.
    pub action_time: Duration,
    /// The provider's own number is 3,600.
    pub requests_per_hour: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let token = "a-token-of-64-characters-which-only-the-tests-of-this-project-know".to_owned();
        Self { token, action_time: Duration::from_millis(40), requests_per_hour: 360_000 }
    }
}

struct Shared {
    settings: Settings,
    network: [u8; 3],
    machines: Arc<dyn Machines>,
    state: Mutex<State>,
    injected: Mutex<Vec<Injected>>,
    requests: Mutex<Vec<String>>,
    ended: (Mutex<bool>, Condvar),
    is_ended: AtomicBool,
    passwords: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A running cloud.
pub struct Cloud {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Cloud {
    /// Starts a cloud on a loopback network that no other one has.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start(settings: Settings, machines: Arc<dyn Machines>) -> Self {
        let (listener, network) = own_network();
        let address = listener.local_addr().expect("an address");
        let mut state = State::new(limit::Limit::new(settings.requests_per_hour));
        for image in machines.images() {
            let id = state.number();
            let (labels, size, created_from) = Default::default();
            let (description, created) = (image.name.clone(), now());
            let (name, disk_size) = (Some(image.name), image.disk_size);
            let image = Image { id, name, description, labels, created, disk_size, size, created_from };
            state.images.insert(id, image);
        }
        let shared = Arc::new(Shared {
            settings,
            network,
            machines,
            state: Mutex::new(state),
            injected: Mutex::default(),
            requests: Mutex::default(),
            ended: Default::default(),
            is_ended: AtomicBool::new(false),
            passwords: AtomicU64::new(0),
            threads: Mutex::default(),
            open: Mutex::default(),
        });
        let seen = Arc::clone(&shared);
        let thread = thread::spawn(move || listen(&listener, &seen));
        Self { address, shared, thread: Some(thread) }
    }

    /// Where the API begins, such as `http://127.80.3.1:8480/v1`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The token that is accepted.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.shared.settings.token
    }

    /// From now on this goes wrong too.
    pub fn inject(&self, fault: Injected) {
        self.shared.injected().push(fault);
    }

    /// How often what was injected is still to happen.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.shared.injected().iter().map(|one| one.times).sum()
    }

    /// Method, path and status of each request so far, `SILENCE` or `CUT` where no status was sent.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::SeqCst);
        *lock(&self.shared.ended.0) = true;
        self.shared.ended.1.notify_all();
        // Wakes the thread that waits for a client, and those that wait for a request.
        drop(TcpStream::connect(self.address));
        let mut joined = self.thread.take().map_or(Ok(()), JoinHandle::join);
        for stream in lock(&self.shared.open).drain(..) {
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
        loop {
            // An action may begin another one.
            let Some(thread) = lock(&self.shared.threads).pop() else { break };
            joined = joined.and(thread.join());
        }
        let ids: Vec<u64> = self.shared.change(|state| state.servers.keys().copied().collect());
        let removed: Result<Vec<()>, _> = ids.into_iter().map(|id| self.shared.machines.remove(id)).collect();
        if !thread::panicking() {
            assert!(joined.is_ok(), "the cloud has panicked");
            removed.expect("its machines are removed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn injected(&self) -> MutexGuard<'_, Vec<Injected>> {
        lock(&self.injected)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.state))
    }

    fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::SeqCst)
    }

    /// Waits, but not beyond the end of the cloud.
    fn pause(&self, time: Duration) {
        let guard = lock(&self.ended.0);
        drop(self.ended.1.wait_timeout_while(guard, time, |ended| !*ended));
    }

    fn keep(&self, thread: JoinHandle<()>) {
        lock(&self.threads).push(thread);
    }

    /// One that was not given out before.
    fn password(&self) -> String {
        let number = self.passwords.fetch_add(1, Ordering::SeqCst);
        let seed = Timestamp::now().as_nanosecond() as u64 ^ number.rotate_left(48);
        format!("{:016x}Pw{number}", seed.wrapping_mul(6_364_136_223_846_793_005))
    }

    /// Takes away the server of a path.
    fn vanish(&self, path: &str) {
        let Some(id) = path.split('/').nth(3).and_then(|id| id.parse().ok()) else { return };
        let server = self.change(|state| state.servers.remove(&id));
        if server.is_some() {
            self.machines.remove(id).expect("the machine of a server that vanishes is removed");
        }
    }
}

/// A listener at the first address of a network that nobody else listens in.
fn own_network() -> (TcpListener, [u8; 3]) {
    let start = std::process::id();
    let networks = (0..10_000_u32).map(|number| (start + number) % 10_000);
    let networks = networks.map(|number| [127, 64 + (number / 250) as u8, 1 + (number % 250) as u8]);
    let listen = |[a, b, c]: [u8; 3]| {
        TcpListener::bind((Ipv4Addr::new(a, b, c, 1), PORT)).ok().map(|listener| (listener, [a, b, c]))
    };
    networks.into_iter().find_map(listen).expect("a loopback network where nobody listens at port 8480")
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_ended() {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(copy) = stream.try_clone() {
            lock(&shared.open).push(copy);
        }
        let own = Arc::clone(shared);
        shared.keep(thread::spawn(move || {
            // A client that hangs up in the middle is what some tests are about.
            serve(&stream, &own).unwrap_or_default();
            // The copy would keep the connection open.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }));
    }
}

fn serve(stream: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = wire::read(&mut reader)? {
        let outcome = routes::outcome(shared, &request);
        let note = |what: &str| lock(&shared.requests).push(format!("{} {} {what}", request.method, request.path));
        let answer = match outcome {
            Outcome::Answer(answer) => answer,
            Outcome::Late(answer, time) => {
                shared.pause(time);
                answer
            }
            Outcome::Silence => {
                note("SILENCE");
                return wait_for_hang_up(stream, shared);
            }
            Outcome::Cut => {
                note("CUT");
                return Ok(());
            }
        };
        note(&answer.status.to_string());
        wire::write(stream, &answer)?;
    }
    Ok(())
}

/// As long as the client waits, or the cloud is.
fn wait_for_hang_up(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let began = Instant::now();
    while !shared.is_ended() && began.elapsed() < Duration::from_secs(600) {
        if matches!(stream.peek(&mut [0]), Ok(0)) {
            break;
        }
    }
    Ok(())
}
