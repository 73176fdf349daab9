//! From a request to what answers it: token, limit, faults, path.

use std::sync::Arc;

use super::{
    Shared,
    actions::{self, About},
    catalog,
    faults::{self, Fault},
    images, keys, limit,
    refusal::Refusal,
    server_actions, servers,
    state::State,
    wire::{Answer, Request},
};

/// What becomes of a request.
pub(super) enum Outcome {
    /// The answer.
    Answer(Answer),
    /// The answer, when this time has passed.
    Late(Answer, std::time::Duration),
    /// Nothing, as long as the client waits.
    Silence,
    /// The end of the connection.
    Cut,
}

pub(super) fn outcome(shared: &Arc<Shared>, request: &Request) -> Outcome {
    let fault = faults::befalls(&mut shared.injected(), &request.method, &request.path);
    match fault {
        Some(Fault::TooMany(wait)) => {
            let mut answer = Refusal::too_many().answer();
            limit::tell_of_none(&mut answer, shared.settings.requests_per_hour, wait);
            return Outcome::Answer(answer);
        }
        Some(Fault::Status(status)) => return Outcome::Answer(Refusal::server(status).answer()),
        Some(Fault::Silent) => return Outcome::Silence,
        Some(Fault::Vanishes) => shared.vanish(&request.path),
        _ => {}
    }
    let answer = answer(shared, request, fault);
    match fault {
        Some(Fault::StatusAfterEffect(status)) => Outcome::Answer(Refusal::server(status).answer()),
        Some(Fault::SilentAfterEffect) => Outcome::Silence,
        Some(Fault::CutAfterEffect) => Outcome::Cut,
        Some(Fault::Late(time)) => Outcome::Late(answer, time),
        _ => Outcome::Answer(answer),
    }
}

fn answer(shared: &Arc<Shared>, request: &Request, fault: Option<Fault>) -> Answer {
    shared.change(|state| {
        let allowed = state.limit.take();
        let done = match () {
            () if !allowed => Err(Refusal::too_many()),
            () if request.token.as_deref() != Some(&shared.settings.token) => Err(Refusal::unauthorized()),
            () => route(shared, state, request, fault),
        };
        let mut answer = done.unwrap_or_else(|refusal| refusal.answer());
        state.limit.tell(&mut answer);
        answer
    })
}

fn route(shared: &Arc<Shared>, state: &mut State, request: &Request, fault: Option<Fault>) -> Result<Answer, Refusal> {
    let Some(path) = request.path.strip_prefix("/v1/") else { return Err(Refusal::not_found("page")) };
    let parts: Vec<&str> = path.split('/').collect();
    let method = request.method.as_str();
    match (method, parts.as_slice()) {
        ("GET", ["actions"]) => actions::list(state, request, &About::All, true),
        ("GET", ["servers" | "images", "actions"]) => actions::list(state, request, &About::All, false),
        ("GET", ["actions", id] | ["servers" | "images", "actions", id]) => actions::get(state, &About::All, id),
        ("GET", ["server_types"]) => catalog::server_types(request, None),
        ("GET", ["server_types", id]) => catalog::server_types(request, Some(id)),
        ("GET", ["locations"]) => catalog::locations(request, None),
        ("GET", ["locations", id]) => catalog::locations(request, Some(id)),
        ("GET", ["ssh_keys"]) => keys::list(state, request),
        ("POST", ["ssh_keys"]) => keys::create(state, request),
        (_, ["ssh_keys", id]) => keys::one(state, request, id),
        ("GET", ["images"]) => images::list(state, request),
        (_, ["images", id]) => images::one(shared, state, request, id),
        ("GET", ["images", id, rest @ ..]) => of_one(state, request, About::Image(id.parse().unwrap_or(0)), rest),
        ("GET", ["servers"]) => servers::list(shared, state, request),
        ("POST", ["servers"]) => servers::create(shared, state, request, fault),
        (_, ["servers", id]) => {
            let id = servers::known(state, id)?;
            servers::one(shared, state, request, id, fault)
        }
        ("GET", ["servers", id, rest @ ..]) => {
            let id = servers::known(state, id)?;
            of_one(state, request, About::Server(id), rest)
        }
        ("POST", ["servers", id, "actions", name]) => {
            let id = servers::known(state, id)?;
            server_actions::start(shared, state, request, (id, name), fault)
        }
        _ => Err(Refusal::not_found("page")),
    }
}

/// Actions of one server or image.
fn of_one(state: &State, request: &Request, about: About, rest: &[&str]) -> Result<Answer, Refusal> {
    match rest {
        ["actions"] => actions::list(state, request, &about, false),
        ["actions", id] => actions::get(state, &about, id),
        _ => Err(Refusal::not_found("page")),
    }
}
