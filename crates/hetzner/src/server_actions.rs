//! What is done with a server: power, rescue, rebuild. Each call waits until it is done. Must not decide which is right.

use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ApiError, Call, Client,
    action::{Action, Begun},
    client::Ask,
};

#[derive(Deserialize)]
struct Actions {
    actions: Vec<Action>,
}

impl Client {
    /// Powers a server on; nothing happens if it is.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn power_on(&self, id: u64, until: Instant) -> Result<(), ApiError> {
        self.again("power on server", (id, "poweron"), &Value::Null, until)
    }

    /// Cuts the power of a server; nothing happens if it is off.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn power_off(&self, id: u64, until: Instant) -> Result<(), ApiError> {
        self.again("power off server", (id, "poweroff"), &Value::Null, until)
    }

    /// Presses the power button. That it was pressed does not say that the system on the server obeys.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn shutdown(&self, id: u64, until: Instant) -> Result<(), ApiError> {
        self.again("shut down server", (id, "shutdown"), &Value::Null, until)
    }

    /// Cuts the power of a server and gives it again, once: a second time would leave the rescue system that the first one
    /// booted.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn reset(&self, id: u64, until: Instant) -> Result<(), ApiError> {
        self.once(&Call::new("reset server", id), (id, "reset", "reset_server"), &Value::Null, until)
    }

    /// The next boot of a server, within an hour, goes into the provider's rescue system, where root logs in with these
    /// keys of the project. The password that the provider makes as well is not kept.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn enable_rescue(&self, id: u64, ssh_keys: &[u64], until: Instant) -> Result<(), ApiError> {
        let body = json!({"type": "linux64", "ssh_keys": ssh_keys});
        self.again("enable the rescue system of server", (id, "enable_rescue"), &body, until)
    }

    /// The next boot of a server goes to its disk again.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn disable_rescue(&self, id: u64, until: Instant) -> Result<(), ApiError> {
        self.again("disable the rescue system of server", (id, "disable_rescue"), &Value::Null, until)
    }

    /// Writes the disk of a server anew from an image, by number or name, and boots it. Without `user_data` the server
    /// keeps that which it was made with.
    ///
    /// # Errors
    /// [`ApiError::NoSuch`] when there is no such image, and any other of a call or an action.
    pub fn rebuild(&self, id: u64, image: &str, user_data: Option<&str>, until: Instant) -> Result<(), ApiError> {
        let call = Call::new("rebuild server", id);
        let mut body = json!({"image": image});
        if let Some(data) = user_data {
            body["user_data"] = data.into();
        }
        let done = self.once(&call, (id, "rebuild", "rebuild_server"), &body, until);
        done.map_err(|error| match error {
            ApiError::Refused { .. } | ApiError::NotFound { .. } => {
                self.no_such_image(&call, image, until).unwrap_or(error)
            }
            error => error,
        })
    }

    /// What ends the same way however often it is asked for.
    fn again(&self, what: &'static str, of: (u64, &str), body: &Value, until: Instant) -> Result<(), ApiError> {
        let (id, name) = of;
        let call = Call::new(what, id);
        let ask = Ask::post(call.clone(), format!("servers/{id}/actions/{name}"), body.clone());
        let Begun { action } = self.ask(&ask, until)?;
        self.wait(&call, action, until)
    }

    /// What must be done once. Without an answer the actions of the server say whether it was begun; only when none did it
    /// is asked for again. An action that another program began meanwhile counts too: it does the same.
    fn once(&self, call: &Call, of: (u64, &str, &str), body: &Value, until: Instant) -> Result<(), ApiError> {
        let (id, name, command) = of;
        let before = self.latest(call, id, until)?.iter().map(|action| action.id).max().unwrap_or(0);
        let ask = Ask::post_once(call.clone(), format!("servers/{id}/actions/{name}"), body.clone());
        let mut attempts = 1;
        loop {
            let unanswered = match self.ask::<Begun>(&ask, until) {
                Ok(Begun { action }) => return self.wait(call, action, until),
                Err(error @ ApiError::Unanswered { .. }) => error,
                Err(error) => return Err(error),
            };
            let begun = self.look(until, || {
                let latest = self.latest(call, id, until)?;
                Ok(latest.into_iter().find(|action| action.id > before && action.command == command))
            })?;
            match begun {
                Some(action) => return self.wait(call, action, until),
                None if attempts >= self.pace().attempts || Instant::now() >= until => return Err(unanswered),
                None => attempts += 1,
            }
        }
    }

    /// The latest actions of a server.
    fn latest(&self, call: &Call, id: u64, until: Instant) -> Result<Vec<Action>, ApiError> {
        let query = vec![("sort", "id:desc".to_owned()), ("per_page", "25".to_owned())];
        let ask = Ask::get(call.clone(), format!("servers/{id}/actions"), query);
        self.ask::<Actions>(&ask, until).map(|list| list.actions)
    }

    /// The first actions of a server, which made it.
    pub(crate) fn first_actions(&self, call: &Call, id: u64, until: Instant) -> Result<Vec<Action>, ApiError> {
        let query = vec![("sort", "id:asc".to_owned()), ("per_page", "25".to_owned())];
        let ask = Ask::get(call.clone(), format!("servers/{id}/actions"), query);
        self.ask::<Actions>(&ask, until).map(|list| list.actions)
    }
}
