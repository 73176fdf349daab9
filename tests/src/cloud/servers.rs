//! Servers: made, listed, changed and deleted.

use std::{net::Ipv4Addr, sync::Arc};

use serde_json::{Value, json};

use super::{
    Shared,
    actions::{self, Begun},
    catalog::{self, LOCATIONS, Location, ServerType},
    faults::Fault,
    input::Body,
    listing,
    machines::{Contents, Spec},
    refusal::Refusal,
    state::{Image, Server, State, now},
    wire::{Answer, Request},
};

/// Addresses of servers end with these numbers; the first ones are the cloud's own.
const ENDS: std::ops::RangeInclusive<u8> = 10..=250;

pub(super) fn list(shared: &Shared, state: &State, request: &Request) -> Result<Answer, Refusal> {
    let statuses: Vec<&str> = request.all("status").collect();
    let chosen = listing::choose(request, state.servers.values())?;
    let shown = chosen.into_iter().map(|server| shown(shared, state, server));
    let shown = shown.filter(|shown| statuses.is_empty() || statuses.iter().any(|status| shown["status"] == **status));
    listing::page(request, "servers", shown.collect())
}

/// A server as it is at the moment.
pub(super) fn shown(shared: &Shared, state: &State, server: &Server) -> Value {
    server.show(state, shared.machines.look(server.id))
}

/// A server that is there.
pub(super) fn known(state: &State, id: &str) -> Result<u64, Refusal> {
    id.parse().ok().filter(|id| state.servers.contains_key(id)).ok_or_else(|| Refusal::not_found("server"))
}

/// A server that is there and about which no action is.
pub(super) fn unlocked(state: &State, id: u64) -> Result<&Server, Refusal> {
    let server = state.servers.get(&id).ok_or_else(|| Refusal::not_found("server"))?;
    if server.busy.is_some() { Err(Refusal::locked("server")) } else { Ok(server) }
}

/// One server: shown, changed or deleted.
pub(super) fn one(
    shared: &Arc<Shared>,
    state: &mut State,
    request: &Request,
    id: u64,
    fault: Option<Fault>,
) -> Result<Answer, Refusal> {
    match request.method.as_str() {
        "GET" => {}
        "PUT" => change(state, request, id)?,
        "DELETE" => {
            unlocked(state, id)?;
            let begun = Begun {
                server: id,
                command: "delete_server",
                meanwhile: "deleting",
                image: None,
                fault,
                follows: None,
            };
            let work = Box::new(move |shared: &Shared| shared.machines.remove(id));
            let after = Box::new(move |state: &mut State, done: bool| {
                if done {
                    state.servers.remove(&id);
                }
            });
            let action = actions::begin(shared, state, begun, work, after);
            return Ok(Answer::new(200, json!({"action": action.show()})));
        }
        _ => return Err(Refusal::not_found("page")),
    }
    let server = state.servers.get(&id).ok_or_else(|| Refusal::not_found("server"))?;
    Ok(Answer::new(200, json!({"server": shown(shared, state, server)})))
}

fn change(state: &mut State, request: &Request, id: u64) -> Result<(), Refusal> {
    let body = Body::parse(&request.body)?;
    let (name, labels) = (body.host_name()?, body.labels()?);
    if state.servers.values().any(|server| server.id != id && Some(&server.name) == name.as_ref()) {
        return Err(Refusal::not_unique("name"));
    }
    if let Some(server) = state.servers.get_mut(&id) {
        server.name = name.unwrap_or_else(|| server.name.clone());
        server.labels = labels.unwrap_or_else(|| server.labels.clone());
    }
    Ok(())
}

pub(super) fn create(
    shared: &Arc<Shared>,
    state: &mut State,
    request: &Request,
    fault: Option<Fault>,
) -> Result<Answer, Refusal> {
    let body = Body::parse(&request.body)?;
    refuse_what_is_not_here(&body)?;
    let start = body.switch("start_after_create", true)?;
    let server = server(shared, state, &body)?;
    let image = state.images.get(&server.image).ok_or_else(|| Refusal::not_found("image"))?;
    let spec = Spec {
        id: server.id,
        name: server.name.clone(),
        address: server.address,
        cores: server.kind.cores,
        memory: server.kind.memory * 1024,
        contents: contents(&server, image),
    };
    let password = spec.contents.keys.is_empty().then(|| shared.password());
    let (id, image) = (server.id, server.image);
    state.servers.insert(id, server);
    let begun = |command, image, fault, follows| Begun {
        server: id,
        command,
        meanwhile: "initializing",
        image,
        fault,
        follows,
    };
    let work = Box::new(move |shared: &Shared| shared.machines.create(&spec));
    let first = begun("create_server", Some(image), fault, None);
    let action = actions::begin(shared, state, first, work, Box::new(|_, _| ()));
    let mut next = Vec::new();
    if start {
        let work = Box::new(move |shared: &Shared| shared.machines.power_on(id));
        let second = begun("start_server", None, None, Some(action.id));
        next.push(actions::begin(shared, state, second, work, Box::new(|_, _| ())).show());
    }
    let server = shown(shared, state, &state.servers[&id]);
    let body = json!({"server": server, "action": action.show(), "next_actions": next, "root_password": password});
    Ok(Answer::new(201, body))
}

/// What a server's disk is written with.
pub(super) fn contents(server: &Server, image: &Image) -> Contents {
    Contents { image: image.source(), keys: server.keys.clone(), user_data: server.user_data.clone() }
}

/// A server of this body, which is not yet in the state.
fn server(shared: &Shared, state: &mut State, body: &Body) -> Result<Server, Refusal> {
    body.must_have("name")?;
    let name = body.host_name()?.unwrap_or_default();
    let kind = body.reference("server_type")?;
    let kind = catalog::server_type(&kind).ok_or_else(|| Refusal::invalid("server_type", "does not exist"))?;
    if kind.deprecated {
        return Err(Refusal::unavailable("the server type is no longer sold"));
    }
    let image = image(state, &body.reference("image")?, kind)?.id;
    let public = body.object("public_net")?;
    if !public.switch("enable_ipv4", true)? {
        return Err(Refusal::invalid("public_net", "this emulator has no server without an IPv4 address"));
    }
    let keys = keys(state, body)?;
    let (labels, user_data) = (body.labels()?.unwrap_or_default(), body.user_data()?);
    let location = place(body)?;
    if state.servers.values().any(|server| server.name == name) {
        return Err(Refusal::not_unique("name"));
    }
    let address = free_address(shared, state)?;
    let ipv6 = public.switch("enable_ipv6", true)?;
    let (id, created) = (state.number(), now());
    Ok(Server { id, name, labels, created, kind, location, image, address, ipv6, keys, user_data, busy: None })
}

/// An image that a server of the type can have.
pub(super) fn image<'a>(state: &'a State, reference: &str, kind: ServerType) -> Result<&'a Image, Refusal> {
    let image = state.image(reference).ok_or_else(|| Refusal::invalid("image", "does not exist"))?;
    if !image.is_ready() {
        return Err(Refusal::locked("image"));
    }
    if kind.architecture != "x86" {
        return Err(Refusal::invalid("image", "has another architecture than the server type"));
    }
    if image.disk_size > kind.disk {
        return Err(Refusal::invalid("image", "image disk is bigger than server type disk"));
    }
    Ok(image)
}

/// The public keys of the field `ssh_keys`.
pub(super) fn keys(state: &State, body: &Body) -> Result<Vec<String>, Refusal> {
    let references = body.references("ssh_keys")?;
    let key = |reference: &String| {
        let key = state.key(reference).ok_or_else(|| Refusal::invalid("ssh_keys", "SSH key does not exist"))?;
        Ok(key.public.clone())
    };
    references.iter().map(key).collect()
}

fn place(body: &Body) -> Result<Location, Refusal> {
    if let Some(name) = body.text("location")? {
        return catalog::location(&name).ok_or_else(|| Refusal::invalid("location", "does not exist"));
    }
    if let Some(name) = body.text("datacenter")? {
        let place = name.split('-').next().and_then(catalog::location);
        return place.ok_or_else(|| Refusal::invalid("datacenter", "does not exist"));
    }
    Ok(LOCATIONS[0])
}

fn free_address(shared: &Shared, state: &State) -> Result<Ipv4Addr, Refusal> {
    let [a, b, c] = shared.network;
    let mut all = ENDS.map(|end| Ipv4Addr::new(a, b, c, end));
    let free = all.find(|address| state.servers.values().all(|server| server.address != *address));
    free.ok_or_else(|| Refusal::exceeded("server limit reached"))
}

/// A field that would be accepted and do nothing would be worse than a refusal.
fn refuse_what_is_not_here(body: &Body) -> Result<(), Refusal> {
    let asked = ["volumes", "networks", "firewalls", "placement_group"].into_iter().find(|field| !body.is_empty(field));
    asked.map_or(Ok(()), |field| Err(Refusal::invalid(field, "this emulator has none")))
}
