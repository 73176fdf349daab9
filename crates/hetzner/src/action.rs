//! Actions: what the provider began and is not done with. Must not begin any.

use std::{
    iter,
    time::{Duration, Instant},
};

use cloud_machine_protocol::escape;
use serde::Deserialize;

use crate::{ApiError, Call, Client, client::Ask};

/// The longest wait between two looks at an action: machines wait for its end, and one request a second is given back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The part of the pace's first wait after which an action is looked at once before: many end at once, such as power that is cut, and a
/// reimage waits for several of them one after the other.
const EARLY: u32 = 5;
/// Characters of the provider's words that an error repeats.
const LONGEST_MESSAGE: usize = 300;

/// Something that takes its time.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Action {
    pub(crate) id: u64,
    /// Such as `reset_server`.
    pub(crate) command: String,
    pub(crate) status: Status,
    #[serde(default)]
    progress: u32,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Running,
    Success,
    Error,
}

#[derive(Clone, Debug, Deserialize)]
struct Failure {
    code: String,
    message: String,
}

/// An answer with an action.
#[derive(Debug, Deserialize)]
pub(crate) struct Begun {
    pub(crate) action: Action,
}

impl Client {
    /// Waits until an action has succeeded.
    ///
    /// # Errors
    /// [`ApiError::ActionFailed`], [`ApiError::TimedOut`], or why it could not be looked at.
    pub(crate) fn wait(&self, call: &Call, mut action: Action, until: Instant) -> Result<(), ApiError> {
        let early = self.pace().first_wait / EARLY;
        let mut waits = iter::once(early).chain(self.pace().waits().map(|wait| wait.min(LONGEST_WAIT)));
        loop {
            match action.status {
                Status::Success => return Ok(()),
                Status::Error => return Err(failed(call, &action)),
                Status::Running => {}
            }
            if !waits.next().is_some_and(|wait| self.pace().pause(wait, until)) {
                return Err(TimedOut(&action).told(call));
            }
            let look = Ask::get(call.clone(), format!("actions/{}", action.id), Vec::new());
            action = match self.ask::<Begun>(&look, until) {
                Ok(Begun { action }) => action,
                Err(ApiError::TimedOut { .. }) => return Err(TimedOut(&action).told(call)),
                Err(error) => return Err(error),
            };
        }
    }
}

/// An action that was running when it was seen last.
struct TimedOut<'a>(&'a Action);

impl TimedOut<'_> {
    fn told(&self, call: &Call) -> ApiError {
        let Action { id, command, progress, .. } = self.0;
        let command = escape::line(command.as_bytes(), 50);
        let doing = format!("the provider's action {id} ({command}) was at {progress} %");
        ApiError::TimedOut { call: call.clone(), doing }
    }
}

fn failed(call: &Call, action: &Action) -> ApiError {
    let shown = |text: &str| escape::line(text.as_bytes(), LONGEST_MESSAGE).into();
    let told = action.error.as_ref();
    let (code, message) = told.map_or(("unknown", "no reason was told"), |told| (&*told.code, &*told.message));
    ApiError::ActionFailed { call: call.clone(), action: action.id, code: shown(code), message: shown(message) }
}
