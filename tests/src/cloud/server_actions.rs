//! What is done with a server: power, rescue, rebuild, snapshot.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Shared,
    actions::{self, After, Begun, Work},
    faults::Fault,
    input::Body,
    machines::{Failure, Rescue},
    refusal::Refusal,
    servers,
    state::{Action, Image, State, now},
    wire::{Answer, Request},
};

/// A request for an action of a server.
struct Asked<'a> {
    shared: &'a Arc<Shared>,
    state: &'a mut State,
    body: Body,
    server: u64,
    fault: Option<Fault>,
}

pub(super) fn start(
    shared: &Arc<Shared>,
    state: &mut State,
    request: &Request,
    (server, name): (u64, &str),
    fault: Option<Fault>,
) -> Result<Answer, Refusal> {
    let body = Body::parse(&request.body)?;
    let asked = Asked { shared, state, body, server, fault };
    match name {
        "poweron" => asked.simple("start_server", "starting", |shared, id| shared.machines.power_on(id)),
        "poweroff" => asked.simple("stop_server", "stopping", |shared, id| shared.machines.power_off(id)),
        "shutdown" => asked.simple("shutdown_server", "", |shared, id| shared.machines.press_power_button(id)),
        "reboot" => asked.simple("reboot_server", "", |shared, id| shared.machines.reboot(id)),
        "reset" => asked.simple("reset_server", "", |shared, id| {
            shared.machines.power_off(id)?;
            shared.machines.power_on(id)
        }),
        "disable_rescue" => asked.simple("disable_rescue", "", |shared, id| shared.machines.set_rescue(id, None)),
        "enable_rescue" => asked.enable_rescue(),
        "rebuild" => asked.rebuild(),
        "create_image" => asked.create_image(),
        _ => Err(Refusal::not_found("page")),
    }
}

impl Asked<'_> {
    fn begin(
        self,
        command: &'static str,
        meanwhile: &'static str,
        image: Option<u64>,
        work: Work,
        after: After,
    ) -> Action {
        let Self { shared, state, server, fault, .. } = self;
        actions::begin(shared, state, Begun { server, command, meanwhile, image, fault, follows: None }, work, after)
    }

    fn simple(
        self,
        command: &'static str,
        meanwhile: &'static str,
        work: fn(&Shared, u64) -> Result<(), Failure>,
    ) -> Result<Answer, Refusal> {
        let id = servers::unlocked(self.state, self.server)?.id;
        let action =
            self.begin(command, meanwhile, None, Box::new(move |shared| work(shared, id)), Box::new(|_, _| ()));
        Ok(created(json!({"action": action.show()})))
    }

    fn enable_rescue(self) -> Result<Answer, Refusal> {
        let id = servers::unlocked(self.state, self.server)?.id;
        if self.body.text("type")?.is_some_and(|kind| kind != "linux64") {
            return Err(Refusal::invalid("type", "must be linux64"));
        }
        let password = self.shared.password();
        let rescue = Rescue {
            keys: servers::keys(self.state, &self.body)?,
            password: password.clone(),
            ignored: self.fault == Some(Fault::RescueIgnored),
            uses_disk: self.fault == Some(Fault::RescueUsesDisk),
        };
        let work = Box::new(move |shared: &Shared| shared.machines.set_rescue(id, Some(rescue)));
        let action = self.begin("enable_rescue", "", None, work, Box::new(|_, _| ()));
        Ok(created(json!({"action": action.show(), "root_password": password})))
    }

    fn rebuild(self) -> Result<Answer, Refusal> {
        let mut server = servers::unlocked(self.state, self.server)?.clone();
        let image = servers::image(self.state, &self.body.reference("image")?, server.kind)?;
        // Without any, those of before are used again.
        server.user_data = self.body.user_data()?.or(server.user_data);
        let (id, image, contents) = (server.id, image.id, servers::contents(&server, image));
        let password = server.keys.is_empty().then(|| self.shared.password());
        let work = Box::new(move |shared: &Shared| {
            shared.machines.power_off(id)?;
            shared.machines.write(id, &contents)?;
            shared.machines.power_on(id)
        });
        let after = Box::new(move |state: &mut State, done: bool| {
            if let Some(own) = state.servers.get_mut(&id)
                && done
            {
                (own.image, own.user_data) = (image, server.user_data);
            }
        });
        let action = self.begin("rebuild_server", "rebuilding", Some(image), work, after);
        Ok(created(json!({"action": action.show(), "root_password": password})))
    }

    fn create_image(self) -> Result<Answer, Refusal> {
        let server = servers::unlocked(self.state, self.server)?.clone();
        match self.body.text("type")?.as_deref() {
            None | Some("snapshot") => {}
            Some("backup") => return Err(Refusal::invalid("type", "backups are not enabled for this server")),
            Some(_) => return Err(Refusal::invalid("type", "must be snapshot or backup")),
        }
        let (id, number) = (server.id, self.state.number());
        let image = Image {
            id: number,
            name: None,
            description: self.body.text("description")?.unwrap_or_else(|| format!("snapshot {number}")),
            labels: self.body.labels()?.unwrap_or_default(),
            created: now(),
            disk_size: server.kind.disk,
            size: None,
            created_from: Some((id, server.name)),
        };
        let shown = image.show();
        self.state.images.insert(number, image);
        let work = Box::new(move |shared: &Shared| {
            let size = shared.machines.capture(id, number)?;
            shared.change(|state| {
                if let Some(image) = state.images.get_mut(&number) {
                    image.size = Some(size);
                }
            });
            Ok(())
        });
        let after = Box::new(move |state: &mut State, done: bool| {
            if !done {
                state.images.remove(&number);
            }
        });
        let action = self.begin("create_image", "", Some(number), work, after);
        Ok(created(json!({"action": action.show(), "image": shown})))
    }
}

fn created(body: Value) -> Answer {
    Answer::new(201, body)
}
