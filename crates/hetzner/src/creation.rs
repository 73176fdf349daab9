//! Making servers and snapshots, each once: what a request without an answer made is found by its labels. Must not make
//! anything without labels.

use std::{fmt, time::Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ApiError, Call, Client, Image, Ownership, Server, ServerStatus,
    action::{Action, Status},
    client::Ask,
    images::shown,
};

/// A server before it is made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewServer {
    /// Its name, a host name that no other one of the project has.
    pub name: String,
    /// Its type, such as `cx23`.
    pub server_type: String,
    /// Its image, by name or number.
    pub image: String,
    /// Where, such as `fsn1`; without one the provider chooses.
    pub location: Option<String>,
    /// Keys of the project that root can log in with. Without any the provider makes a password and sends it by mail.
    pub ssh_keys: Vec<u64>,
    /// What cloud-init gets. May hold secrets: it is never shown.
    pub user_data: Option<String>,
    /// Whether it is powered on when it is made.
    pub start: bool,
}

impl fmt::Debug for NewServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("NewServer");
        shown.field("name", &self.name).field("server_type", &self.server_type).field("image", &self.image);
        shown.field("location", &self.location).field("ssh_keys", &self.ssh_keys).field("start", &self.start);
        shown.finish_non_exhaustive()
    }
}

impl NewServer {
    fn body(&self, ownership: &Ownership) -> Value {
        let keys: Vec<String> = self.ssh_keys.iter().map(u64::to_string).collect();
        let mut body = json!({
            "name": self.name,
            "server_type": self.server_type,
            "image": self.image,
            "ssh_keys": keys,
            "labels": ownership.labels(),
            "start_after_create": self.start,
        });
        let optional = [("location", &self.location), ("user_data", &self.user_data)];
        for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            body[key] = value.as_str().into();
        }
        body
    }
}

/// The server of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The server, made and, if that was asked for, powered on.
    pub server: Server,
    /// Whether this attempt made it.
    pub made: bool,
}

/// The action that makes a server.
const CREATION: &str = "create_server";

fn is_of_creation(action: &Action) -> bool {
    [CREATION, "start_server"].contains(&action.command.as_str())
}

#[derive(Deserialize)]
struct Made {
    server: Server,
    action: Action,
    #[serde(default)]
    next_actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Pictured {
    image: Image,
    action: Action,
}

impl Client {
    /// The server of a machine: the one that has its labels, or else a new one. It is asked for once. When the answer does not
    /// come, the labels of the attempt say whether it was made; when they find none, the call ends, and the same call again
    /// finds what appeared meanwhile. A name is given once in a project, so two programs cannot make two. What fails while it
    /// is made is removed again, so nothing is left that costs and nobody knows.
    ///
    /// # Errors
    /// [`ApiError::NameTaken`], [`ApiError::Ambiguous`], [`ApiError::NoSuch`], [`ApiError::Unanswered`],
    /// [`ApiError::Unfinished`], and any other of a call or an action.
    pub fn find_or_create(&self, own: &Ownership, new: &NewServer, until: Instant) -> Result<Found, ApiError> {
        let call = Call::new("create server", &new.name);
        while let Some(server) = self.there(&call, own, &new.name, until)? {
            if server.status != ServerStatus::Deleting {
                return self.existing(&call, own, server, until);
            }
            // Somebody deletes it: the next one is made when its name is free.
            self.wait_while(&call, server.id, ServerStatus::Deleting, until)?;
        }
        match self.ask::<Made>(&Ask::post_once(call.clone(), "servers", new.body(own)), until) {
            Ok(made) => {
                let actions = std::iter::once(made.action).chain(made.next_actions);
                self.finish(&call, made.server.id, actions.collect(), until)
            }
            Err(error @ ApiError::Unanswered { .. }) => {
                let found = self.look(until, || {
                    let found = self.servers(&own.of_attempt(), until)?;
                    Ok(found.into_iter().find(|server| own.is_attempt(&server.labels)))
                })?;
                let server = found.ok_or(error)?;
                let actions = self.first_actions(&call, server.id, until)?;
                self.finish(&call, server.id, actions, until)
            }
            Err(error) => self.not_created(&call, own, new, error, until),
        }
    }

    /// The server of a machine. Looked for by its labels, and then by its name, since another program may make it between
    /// the two looks.
    fn there(&self, call: &Call, own: &Ownership, name: &str, until: Instant) -> Result<Option<Server>, ApiError> {
        if let Some(server) = self.of_machine(call, own, until)? {
            return Ok(Some(server));
        }
        match self.server_named(name, until)? {
            Some(server) if !own.is_machine(&server.labels) => {
                Err(ApiError::NameTaken { call: call.clone(), server: server.id })
            }
            found => Ok(found),
        }
    }

    /// Waits while a server does something, or until it is gone.
    fn wait_while(&self, call: &Call, id: u64, status: ServerStatus, until: Instant) -> Result<(), ApiError> {
        let mut waits = self.pace().waits();
        loop {
            match self.server(id, until) {
                Ok(server) if server.status == status => {}
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
            if !waits.next().is_some_and(|wait| self.pace().pause(wait, until)) {
                let doing = format!("the older server {id} of this machine was {status:?}").to_lowercase();
                return Err(ApiError::TimedOut { call: call.clone(), doing });
            }
        }
    }

    /// The one server with the labels of a machine.
    fn of_machine(&self, call: &Call, own: &Ownership, until: Instant) -> Result<Option<Server>, ApiError> {
        let mut found = self.servers(&own.of_machine(), until)?;
        // What selects is the provider; what is ours is decided here.
        found.retain(|server| own.is_machine(&server.labels));
        if found.len() > 1 {
            let servers = found.iter().map(|server| server.id.to_string()).collect();
            return Err(ApiError::Ambiguous { call: call.clone(), servers });
        }
        Ok(found.pop())
    }

    /// A server that was there, perhaps still being made by somebody else.
    fn existing(&self, call: &Call, own: &Ownership, server: Server, until: Instant) -> Result<Found, ApiError> {
        let made = own.is_attempt(&server.labels);
        let actions = self.first_actions(call, server.id, until)?;
        for action in actions.into_iter().filter(is_of_creation) {
            // What it was started with long ago says nothing of the server as it is.
            if action.status == Status::Running || action.command == CREATION {
                self.wait(call, action, until).map_err(|error| match error {
                    error @ ApiError::ActionFailed { .. } => {
                        ApiError::Unfinished { server: server.id, removed: false, source: error.into() }
                    }
                    error => error,
                })?;
            }
        }
        Ok(Found { server: self.server(server.id, until)?, made })
    }

    /// Waits for what makes a server, and removes it again if that fails.
    fn finish(&self, call: &Call, id: u64, actions: Vec<Action>, until: Instant) -> Result<Found, ApiError> {
        let done = actions.into_iter().try_for_each(|action| self.wait(call, action, until));
        match done {
            Ok(()) => Ok(Found { server: self.server(id, until)?, made: true }),
            Err(error @ ApiError::ActionFailed { .. }) => {
                let removed = self.delete_server(id, until).is_ok();
                Err(ApiError::Unfinished { server: id, removed, source: error.into() })
            }
            Err(error) => Err(error),
        }
    }

    /// What a refusal means: that another program was first, that a name is wrong, or what the provider said.
    fn not_created(
        &self,
        call: &Call,
        own: &Ownership,
        new: &NewServer,
        error: ApiError,
        until: Instant,
    ) -> Result<Found, ApiError> {
        match &error {
            ApiError::Refused { code, .. } if &**code == "uniqueness_error" => {
                let server = self.there(call, own, &new.name, until)?.ok_or(error)?;
                self.existing(call, own, server, until)
            }
            ApiError::Refused { .. } | ApiError::NotFound { .. } => {
                let found = self.no_such_offer(call, new, until);
                Err(found.or_else(|| self.no_such_image(call, &new.image, until)).unwrap_or(error))
            }
            _ => Err(error),
        }
    }

    /// The better error, when it is the place or the type that cannot be had.
    fn no_such_offer(&self, call: &Call, new: &NewServer, until: Instant) -> Option<ApiError> {
        let no_such = |what, name: &str, why: String, mut available: Vec<String>| {
            available.sort();
            Some(ApiError::NoSuch { call: call.clone(), what, name: shown(name), why, available })
        };
        if let Some(location) = &new.location {
            let locations = self.locations(until).ok()?;
            if !locations.contains(location) {
                let available = locations.iter().map(|name| shown(name)).collect();
                return no_such("location", location, String::new(), available);
            }
        }
        let types = self.server_types(until).ok()?;
        let location = new.location.as_deref();
        let is_offered = |name: &str| types.iter().any(|own| own.name == name && own.is_offered_in(location));
        if is_offered(&new.server_type) {
            return None;
        }
        let place = location.map(|location| format!(" in {}", shown(location))).unwrap_or_default();
        let why = match types.iter().any(|own| own.name == new.server_type) {
            true => format!(" to be had{place} any more"),
            false => String::new(),
        };
        let available = types.iter().filter(|own| own.is_offered_in(location)).map(|own| shown(&own.name)).collect();
        no_such("server type", &new.server_type, why, available)
    }

    /// A snapshot of a server's disk as it is, made once: by the labels of the attempt it is found again, also by a later call
    /// with the same attempt.
    ///
    /// # Errors
    /// [`ApiError::Unanswered`], and any other of a call or an action.
    pub fn create_snapshot(
        &self,
        server: u64,
        description: &str,
        own: &Ownership,
        until: Instant,
    ) -> Result<Image, ApiError> {
        let call = Call::new("make a snapshot of server", server);
        let find = || {
            let found = self.snapshots(&own.of_attempt(), until)?;
            Ok(found.into_iter().find(|image| own.is_attempt(&image.labels)))
        };
        if let Some(image) = find()? {
            return self.pictured(&call, image, until);
        }
        let body = json!({"type": "snapshot", "description": description, "labels": own.labels()});
        let ask = Ask::post_once(call.clone(), format!("servers/{server}/actions/create_image"), body);
        match self.ask::<Pictured>(&ask, until) {
            Ok(Pictured { image, action }) => match self.wait(&call, action, until) {
                Ok(()) => self.image(image.id, until),
                Err(error @ ApiError::ActionFailed { .. }) => {
                    // What there is of it cannot be used. The provider may have removed it before.
                    let _error_of_the_action_counts = self.delete_image(image.id, until);
                    Err(error)
                }
                Err(error) => Err(error),
            },
            Err(error @ ApiError::Unanswered { .. }) => {
                let image = self.look(until, find)?.ok_or(error)?;
                self.pictured(&call, image, until)
            }
            Err(error) => Err(error),
        }
    }

    /// A snapshot that was begun, when it is there.
    fn pictured(&self, call: &Call, image: Image, until: Instant) -> Result<Image, ApiError> {
        let mut image = image;
        let mut waits = self.pace().waits();
        while image.status == "creating" {
            if !waits.next().is_some_and(|wait| self.pace().pause(wait, until)) {
                let doing = format!("snapshot {} was being made", image.id);
                return Err(ApiError::TimedOut { call: call.clone(), doing });
            }
            image = self.image(image.id, until)?;
        }
        Ok(image)
    }
}
