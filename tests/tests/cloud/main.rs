//! The emulated cloud by itself: that it is what its description says, and breaks as it is told to. No machine runs here.

mod client;
mod faults;
mod judges;
mod refusals;
mod servers;

use std::sync::Arc;

use cloud_machine_tests::cloud::{Cloud, Settings, client::Reply, machines::Remembered};
use serde_json::{Value, json};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1fWgSTQqgPEF0u9z7F14O30XeoAmurjR5RVHR+Yygo ada";

/// A cloud whose machines are only remembered.
struct World {
    machines: Arc<Remembered>,
    cloud: Cloud,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let machines = Arc::new(Remembered::default());
        let cloud = Cloud::start(settings, machines.clone());
        Self { machines, cloud }
    }

    fn ask(&self, request: &str, body: &Value) -> Reply {
        self.cloud.ask(request, body).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &Value::Null)
    }

    /// A running server and its number.
    fn server(&self, name: &str, labels: &Value) -> u64 {
        let body = json!({"name": name, "server_type": "cx23", "image": "debian-12", "labels": labels});
        let reply = self.ask("POST /servers", &body);
        assert_eq!(reply.status, 201, "{reply:?}");
        let start = reply.body["next_actions"][0]["id"].as_u64().unwrap();
        assert!(self.cloud.wait_for(start));
        reply.body["server"]["id"].as_u64().unwrap()
    }

    /// Does something with a server and waits until it is done, well.
    fn act(&self, id: u64, name: &str, body: &Value) -> Reply {
        let reply = self.ask(&format!("POST /servers/{id}/actions/{name}"), body);
        assert_eq!(reply.status, 201, "{reply:?}");
        assert!(self.cloud.succeeds(&reply), "{name}");
        reply
    }

    /// A field of a server.
    fn field(&self, id: u64, field: &str) -> Value {
        self.get(&format!("/servers/{id}")).body["server"][field].clone()
    }

    fn names(&self, query: &str) -> Vec<String> {
        let reply = self.get(&format!("/servers{query}"));
        assert_eq!(reply.status, 200, "{reply:?}");
        let servers = reply.body["servers"].as_array().unwrap();
        servers.iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
    }
}
