//! The real program on a real bus: what it answers, whom it refuses, and what it does when something ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod private_bus;
mod staging;
mod unit;

use std::{
    fs, future::poll_fn, io::Read, os::unix::fs::symlink, pin::Pin, process::Stdio, sync::mpsc, thread, time::Duration,
};

use private_bus::{Bus, LIMIT, NAME, OBJECT, Policy, STRANGER, Service, end, shipped};
use zbus::{
    Connection, DBusError, MessageStream, OwnedVariant,
    export::{futures_core::Stream, serde::Serialize},
    wire::DynamicType,
};

const DONE: &str = r#"{"version": 3, "result": {"kind": "done"}, "config": {}, "steps": []}"#;
const FAILED: &str = r#"{"version": 3, "result": {"kind": "failed", "step": "wipe-a", "causes": ["no disk"]}}"#;

/// Calls a method of an interface; the error is its name and text.
fn call<B>(connection: &Connection, interface: &str, method: &str, body: &B) -> Result<zbus::Message, (String, String)>
where
    B: Serialize + DynamicType,
{
    let answer = connection.call_method(Some(NAME), OBJECT, Some(interface), method, body);
    zbus::block_on(answer).map_err(|error| match error {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
        zbus::Error::FDO(error) => {
            (error.name().to_string(), DBusError::description(&*error).unwrap_or_default().to_owned())
        }
        other => ("no answer".to_owned(), other.to_string()),
    })
}

fn report(connection: &Connection) -> Result<String, (String, String)> {
    call(connection, NAME, "Report", &()).map(|answer| answer.body().deserialize().unwrap())
}

fn property(connection: &Connection, name: &str) -> String {
    let answer = call(connection, "org.freedesktop.DBus.Properties", "Get", &(NAME, name)).unwrap();
    let value: OwnedVariant = answer.body().deserialize().unwrap();
    String::try_from(value).unwrap()
}

#[test]
fn each_state_of_the_report_has_its_answer() {
    let bus = Bus::start(&Policy::Shipped);
    let _service = bus.serve();
    let connection = bus.connect();
    let told = || (property(&connection, "Status"), property(&connection, "Summary"));
    let path = bus.report();
    let shown = path.display();
    let faults: [(&str, &dyn Fn(), String); 3] = [
        ("Absent", &|| (), format!("there is no {shown}: the agent did not run when this machine started")),
        (
            "Unreadable",
            &|| symlink(&path, &path).unwrap(),
            format!("cannot read {shown}: Too many levels of symbolic links (os error 40)"),
        ),
        (
            "Invalid",
            &|| fs::write(&path, "{").unwrap(),
            format!(
                "{shown} is no report of this version of the agent: EOF while parsing an object at line 1 column 1"
            ),
        ),
    ];
    for (name, make, text) in faults {
        make();
        assert_eq!(told(), (name.to_lowercase(), text.clone()));
        assert_eq!(report(&connection), Err((format!("{NAME}.Error.{name}"), text)));
        fs::remove_file(&path).unwrap_or_default();
    }
    for (content, status, summary) in [
        (DONE, "done", "The agent made the disks as they are described."),
        (FAILED, "failed", "The agent failed in step wipe-a: no disk"),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(told(), (status.to_owned(), summary.to_owned()));
        let document: serde_json::Value = serde_json::from_str(&report(&connection).unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_str(content).unwrap();
        assert_eq!(document, serde_json::json!({"kind": "status", "version": 1, "value": value}));
    }
}

#[test]
fn another_user_is_refused_by_the_bus_and_by_the_service() {
    let (name, properties) = (format!("string:{NAME}"), "org.freedesktop.DBus.Properties");
    let (get, all, report) = (format!("{properties}.Get"), format!("{properties}.GetAll"), format!("{NAME}.Report"));
    let calls = [&[report.as_str()][..], &[&get, &name, "string:Status"]];
    for (policy, reason) in [
        (Policy::Shipped, "Rejected send message"),
        (Policy::Open, "only root may call this service: the caller is user 65534"),
    ] {
        let bus = Bus::start(&policy);
        fs::write(bus.report(), DONE).unwrap();
        let _service = bus.serve();
        // What fails is left out of it.
        let of_all = |user| bus.send_as(user, &[&all, &name]).stdout;
        assert!(!String::from_utf8_lossy(&of_all(STRANGER)).contains("done"));
        assert!(String::from_utf8_lossy(&of_all(0)).contains("done"));
        for arguments in calls {
            for (user, code, words) in [(STRANGER, 1, reason), (0, 0, "method return")] {
                let output = bus.send_as(user, arguments);
                let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                assert_eq!(output.status.code(), Some(code), "{user} {arguments:?}: {said:?}");
                let denied = said[1].starts_with("Error org.freedesktop.DBus.Error.AccessDenied: ");
                assert!(said.concat().contains(words) && denied == (code == 1), "{user} {arguments:?}: {said:?}");
            }
        }
    }
}

#[test]
fn what_is_not_offered_is_refused_and_the_service_goes_on() {
    let bus = Bus::start(&Policy::Shipped);
    fs::write(bus.report(), DONE).unwrap();
    let _service = bus.serve();
    let connection = bus.connect();
    let properties = "org.freedesktop.DBus.Properties";
    let refusals = [
        call(&connection, NAME, "Reports", &()),
        call(&connection, "org.cloud_machine.Agent2", "Report", &()),
        call(&connection, properties, "Get", &(NAME, "Report")),
        call(&connection, properties, "Get", &(NAME,)),
        call(&connection, properties, "Set", &(NAME, "Status", zbus::Variant::from("done"))),
    ]
    .map(|answer| answer.map(drop).unwrap_err().0);
    assert_eq!(
        refusals,
        ["UnknownMethod", "UnknownInterface", "UnknownProperty", "InvalidArgs", "UnknownProperty"]
            .map(|name| format!("org.freedesktop.DBus.Error.{name}"))
    );
    // Bytes that are no message end the connection of who sends them alone.
    use std::io::Write;
    let mut raw = std::os::unix::net::UnixStream::connect(bus.folder.path().join("bus")).unwrap();
    raw.write_all(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n\xff\xff\xff\xff").unwrap();
    drop(raw);
    assert_eq!(property(&connection, "Status"), "done");
}

#[test]
fn a_signal_tells_that_there_is_another_report_and_nothing_of_it() {
    let bus = Bus::start(&Policy::Shipped);
    let _service = bus.serve();
    let connection = bus.connect();
    let dbus = "org.freedesktop.DBus";
    let rule = format!("type='signal',sender='{NAME}'");
    let added = connection.call_method(Some(dbus), "/org/freedesktop/DBus", Some(dbus), "AddMatch", &rule);
    zbus::block_on(added).unwrap();
    let (sender, seen) = mpsc::channel();
    let mut stream = MessageStream::from(&connection);
    thread::spawn(move || {
        let next = |stream: &mut MessageStream| zbus::block_on(poll_fn(|task| Pin::new(&mut *stream).poll_next(task)));
        while let Some(Ok(message)) = next(&mut stream) {
            sender.send(message).unwrap_or_default();
        }
    });
    let signals = |count: usize| {
        let mut members = Vec::new();
        while members.len() < count {
            let message = seen.recv_timeout(LIMIT).expect("a signal");
            let (header, body) = (message.header(), message.body());
            let ours = header.path().is_some_and(|path| path.as_str() == OBJECT);
            if message.message_type() == zbus::message::Type::Signal && ours {
                members.push(header.member().unwrap().to_string());
                // Only names: the bus may let others hear it.
                assert!(!String::from_utf8_lossy(body.data()).contains("disks"), "{message}");
            }
        }
        members
    };
    let three = ["PropertiesChanged", "PropertiesChanged", "ReportChanged"];
    fs::write(bus.folder.path().join("cloud-machine/new"), DONE).unwrap();
    fs::rename(bus.folder.path().join("cloud-machine/new"), bus.report()).unwrap();
    assert_eq!(signals(3), three);
    // The same content is no change, so that the next signals are those of the removal.
    fs::write(bus.folder.path().join("cloud-machine/new"), DONE).unwrap();
    fs::rename(bus.folder.path().join("cloud-machine/new"), bus.report()).unwrap();
    thread::sleep(Duration::from_millis(300));
    fs::remove_file(bus.report()).unwrap();
    assert_eq!(signals(3), three);
    assert_eq!(property(&connection, "Status"), "absent");
}

#[test]
fn a_service_that_was_killed_comes_again_and_there_is_only_one() {
    let bus = Bus::start(&Policy::Shipped);
    fs::write(bus.report(), DONE).unwrap();
    let mut service = bus.serve();
    let connection = bus.connect();
    assert_eq!(property(&connection, "Status"), "done");
    let mut second = Service(bus.program().stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(second.exit_code(), Some(1));
    let mut said = String::new();
    second.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("error: cannot have the name org.cloud_machine.Agent1 on the system bus: "), "{said}");

    end(&mut service.0);
    let none = call(&connection, NAME, "Report", &()).unwrap_err().0;
    assert_eq!(none, "org.freedesktop.DBus.Error.ServiceUnknown");
    let mut service = bus.serve();
    assert_eq!(property(&connection, "Status"), "done");

    let mut bus = bus;
    end(&mut bus.daemon);
    assert_eq!(service.exit_code(), Some(1), "it goes on without a bus");
}

#[test]
fn without_a_bus_it_says_so() {
    let output = std::process::Command::new(private_bus::PROGRAM)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot connect to the system bus: "), "{said}");
}

/// What stands below `$ COMMAND` in the reference page.
fn documented(command: &str) -> String {
    let page = fs::read_to_string(shipped("docs/reference/agent-service.md")).unwrap();
    let (_, rest) = page.split_once(&format!("$ {command}\n")).unwrap_or_else(|| panic!("no {command} in the page"));
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_page_shows_what_introspection_says() {
    let bus = Bus::start(&Policy::Shipped);
    fs::write(bus.report(), DONE).unwrap();
    let _service = bus.serve();
    for interface in [NAME, "org.cloud_machine.Agent1.Reimage"] {
        let said = String::from_utf8(bus.busctl(&["introspect", NAME, OBJECT, interface]).stdout).unwrap();
        assert_eq!(said, documented(&format!("busctl introspect {NAME} {OBJECT} {interface}")));
    }
    let xml = String::from_utf8(bus.busctl(&["introspect", "--xml-interface", NAME, OBJECT]).stdout).unwrap();
    for text in ["The same in one sentence for people", r#"<arg name="report" type="s" direction="out"/>"#] {
        assert!(xml.contains(text), "{xml}");
    }
}
