//! The client of the Hetzner Cloud API against the emulated cloud: what it does when all goes well, and when it does not.
//! No machine runs here.

mod calls;
mod catalog;
mod creation;
mod faults;
mod orphans;
mod token;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cloud_machine_hetzner::{Client, NewServer, Ownership, Pace, TokenSource};
use cloud_machine_tests::cloud::{Cloud, Settings, machines::Remembered};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1fWgSTQqgPEF0u9z7F14O30XeoAmurjR5RVHR+Yygo ada";

/// Short, so that what is waited for in vain takes a test no time.
const PACE: Pace = Pace {
    request: Duration::from_secs(2),
    least: Duration::from_millis(300),
    first_wait: Duration::from_millis(20),
    longest_wait: Duration::from_millis(200),
    attempts: 4,
    look: Duration::from_millis(500),
};

/// A cloud whose machines are only remembered, and a client of it.
struct World {
    machines: Arc<Remembered>,
    cloud: Cloud,
    client: Client,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let machines = Arc::new(Remembered::default());
        let cloud = Cloud::start(Settings::default(), machines.clone());
        let folder = TempDir::new().unwrap();
        let client = client(&cloud.endpoint(), write_token(folder.path(), cloud.token()));
        Self { machines, cloud, client, folder }
    }

    /// Requests so far that begin so.
    fn requests(&self, start: &str) -> usize {
        self.cloud.requests().iter().filter(|request| request.starts_with(start)).count()
    }

    /// Numbers of all servers of the project.
    fn servers(&self) -> Vec<u64> {
        let reply = self.cloud.ask("GET /servers", &Value::Null).unwrap();
        reply.body["servers"].as_array().unwrap().iter().map(|server| server["id"].as_u64().unwrap()).collect()
    }

    /// A server that was not made by the client.
    fn foreign(&self, name: &str, labels: &Value) -> u64 {
        let body = json!({"name": name, "server_type": "cx23", "image": "debian-12", "labels": labels});
        let reply = self.cloud.ask("POST /servers", &body).unwrap();
        assert_eq!(reply.status, 201, "{reply:?}");
        assert!(self.cloud.wait_for(reply.body["next_actions"][0]["id"].as_u64().unwrap()));
        reply.body["server"]["id"].as_u64().unwrap()
    }

    /// The server of the machine `ci-1`.
    fn made(&self) -> u64 {
        self.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap().server.id
    }

    fn boots(&self, id: u64) -> usize {
        self.machines.machine(id).unwrap().boots
    }
}

fn client(endpoint: &str, token: PathBuf) -> Client {
    Client::new(endpoint, TokenSource::File(token), PACE).unwrap()
}

fn write_token(folder: &Path, token: &str) -> PathBuf {
    let path = folder.join("token");
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// An attempt for the machine `ci-1` of the host `host-1`.
fn own(create: &str) -> Ownership {
    Ownership::new("host-1", "ci-1", create).unwrap()
}

fn new(name: &str) -> NewServer {
    NewServer {
        name: name.to_owned(),
        server_type: "cx23".to_owned(),
        image: "debian-12".to_owned(),
        location: Some("fsn1".to_owned()),
        ssh_keys: Vec::new(),
        user_data: None,
        start: true,
    }
}
