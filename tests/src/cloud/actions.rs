//! Actions: what takes its time, is done in a thread of its own, and locks its server meanwhile.

use std::{sync::Arc, thread, time::Duration};

use serde_json::json;

use super::{
    Shared,
    faults::Fault,
    listing,
    machines::Failure,
    refusal::Refusal,
    state::{Action, State, now},
    wire::{Answer, Request},
};

/// An action before it begins.
pub(super) struct Begun {
    pub(super) server: u64,
    pub(super) command: &'static str,
    /// How the server is called while it runs; its own status if empty.
    pub(super) meanwhile: &'static str,
    pub(super) image: Option<u64>,
    pub(super) fault: Option<Fault>,
    /// The action that must have succeeded before.
    pub(super) follows: Option<u64>,
}

/// What an action does: with the machines, then with the state, which is told whether the machines did it.
pub(super) type Work = Box<dyn FnOnce(&Shared) -> Result<(), Failure> + Send>;
pub(super) type After = Box<dyn FnOnce(&mut State, bool) + Send>;

/// Begins an action; its server must be neither absent nor locked.
pub(super) fn begin(shared: &Arc<Shared>, state: &mut State, begun: Begun, work: Work, after: After) -> Action {
    let id = state.number();
    let Begun { server, command, meanwhile, image, fault, follows } = begun;
    let started = now();
    let action = Action { id, command, progress: 0, started, finished: None, error: None, server, image };
    state.actions.insert(id, action.clone());
    if let Some(server) = state.servers.get_mut(&server) {
        server.busy = Some((id, meanwhile));
    }
    let worker = Arc::clone(shared);
    let work: Work = Box::new(move |shared| {
        follows.map_or(Ok(()), |before| succeeded(shared, before))?;
        work(shared)
    });
    let thread = thread::spawn(move || run(&worker, id, fault, work, after));
    shared.keep(thread);
    action
}

fn run(shared: &Shared, id: u64, fault: Option<Fault>, work: Work, after: After) {
    let slower = if let Some(Fault::ActionSlow(time)) = fault { time } else { Duration::ZERO };
    shared.pause(shared.settings.action_time / 2 + slower);
    shared.change(|state| {
        if let Some(action) = state.actions.get_mut(&id) {
            action.progress = 50;
        }
    });
    let done = match fault {
        Some(Fault::ActionHangs) => return,
        Some(Fault::ActionFails) => Err("injected: nothing was done".to_owned()),
        _ if shared.is_ended() => Err("the cloud is gone".to_owned()),
        _ => work(shared),
    };
    shared.pause(shared.settings.action_time / 2);
    shared.change(|state| {
        after(state, done.is_ok());
        let done = done.and_then(|()| match fault {
            Some(Fault::ActionFailsAfterEffect) => Err("injected: all was done".to_owned()),
            _ => Ok(()),
        });
        let Some(action) = state.actions.get_mut(&id) else { return };
        action.finished = Some(now());
        match done {
            Ok(()) => action.progress = 100,
            Err(message) => action.error = Some(message),
        }
        let server = action.server;
        if let Some(server) = state.servers.get_mut(&server)
            && server.busy.is_some_and(|(own, _)| own == id)
        {
            server.busy = None;
        }
    });
}

/// Waits for the end of an action.
fn succeeded(shared: &Shared, id: u64) -> Result<(), Failure> {
    loop {
        let seen = shared.change(|state| state.actions.get(&id).map_or("error", Action::status));
        match seen {
            "success" => return Ok(()),
            "running" if !shared.is_ended() => shared.pause(Duration::from_millis(5)),
            _ => return Err(format!("the action {id} before has failed")),
        }
    }
}

/// Which of all actions a list is about.
pub(super) enum About {
    All,
    Server(u64),
    Image(u64),
}

impl About {
    fn holds(&self, action: &Action) -> bool {
        match self {
            Self::All => true,
            Self::Server(id) => action.server == *id,
            Self::Image(id) => action.image == Some(*id),
        }
    }
}

/// A page of actions. Without a resource they must be asked for by number: the list of all was removed from the API.
pub(super) fn list(state: &State, request: &Request, about: &About, numbered: bool) -> Result<Answer, Refusal> {
    let numbers: Vec<&str> = request.all("id").collect();
    if numbered && numbers.is_empty() {
        return Err(Refusal::invalid("id", "Missing data for required field."));
    }
    let statuses: Vec<&str> = request.all("status").collect();
    let chosen = listing::choose(request, state.actions.values().filter(|action| about.holds(action)))?;
    let chosen = chosen
        .into_iter()
        .filter(|action| statuses.is_empty() || statuses.contains(&action.status()))
        .filter(|action| numbers.is_empty() || numbers.contains(&action.id.to_string().as_str()));
    listing::page(request, "actions", chosen.map(Action::show).collect())
}

/// One action.
pub(super) fn get(state: &State, about: &About, id: &str) -> Result<Answer, Refusal> {
    let action = state.actions.values().find(|action| action.id.to_string() == id && about.holds(action));
    let action = action.ok_or_else(|| Refusal::not_found("action"))?;
    Ok(Answer::new(200, json!({"action": action.show()})))
}
