//! Staging over the bus, with a logind of the test's own.

use std::{
    fs,
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    os::fd::{AsFd, OwnedFd},
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
};

use zbus::{Connection, Fd, fdo, interface};

use crate::{
    call,
    private_bus::{Bus, LIMIT, NAME, PROGRAM, Policy, STRANGER},
};

const REIMAGE: &str = "org.cloud_machine.Agent1.Reimage";

/// Gives locks, and tells the test of each what it was asked and how to see its end.
struct Logind {
    locks: Sender<([String; 4], PipeReader)>,
    gives: bool,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn inhibit(&self, what: String, who: String, why: String, mode: String) -> fdo::Result<zbus::OwnedFd> {
        if !self.gives {
            return Err(fdo::Error::AccessDenied("not you".to_owned()));
        }
        let (reader, writer): (PipeReader, PipeWriter) = pipe().unwrap();
        self.locks.send(([what, who, why, mode], reader)).unwrap();
        Ok(OwnedFd::from(writer).into())
    }
}

/// A logind on the bus, as long as the connection is there.
fn logind(bus: &Bus, gives: bool) -> (Connection, Receiver<([String; 4], PipeReader)>) {
    let (locks, taken) = channel();
    let builder = zbus::connection::Builder::address(bus.address().as_str())
        .serve_at("/org/freedesktop/login1", Logind { locks, gives })
        .name("org.freedesktop.login1");
    (zbus::block_on(builder.build()).unwrap(), taken)
}

/// Stages a request that is none; the error.
fn stage(connection: &Connection) -> (String, String) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(b"none\n").unwrap();
    drop(writer);
    call(connection, REIMAGE, "Stage", &(Fd::from(reader.as_fd()),)).map(drop).unwrap_err()
}

#[test]
fn a_shutdown_is_held_off_only_while_a_request_is_written() {
    let bus = Bus::start(&Policy::Open);
    let _service = bus.serve();
    let connection = bus.connect();
    let no_recovery =
        (format!("{NAME}.Error.NoRecovery"), "this machine has no recovery partition: `recovery: SIZE` in the policy of its agent makes one at the next start".to_owned());
    // Without logind nothing shuts the machine down by it.
    assert_eq!(stage(&connection), no_recovery);

    let (there, taken) = logind(&bus, true);
    assert_eq!(stage(&connection), no_recovery);
    let (asked, mut lock) = taken.recv_timeout(LIMIT).unwrap();
    assert_eq!(asked, ["shutdown", "cloud-machine-agentd", "a request for a reimage is being written", "block"]);
    // It ends when nobody has the lock any more.
    assert_eq!(lock.read(&mut [0]).unwrap(), 0);
    drop(there);
}

#[test]
fn a_file_is_staged_through_the_service() {
    let bus = Bus::start(&Policy::Shipped);
    let file = bus.folder.path().join("request");
    let staged = || {
        let mut program = Command::new(PROGRAM);
        let output = program.arg("--stage").arg(&file).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap().replace(&file.display().to_string(), "FILE")
    };
    assert_eq!(staged(), "error: cannot open the request FILE: No such file or directory (os error 2)\n");
    fs::write(&file, "none\n").unwrap();
    let said = staged();
    assert!(said.starts_with("error: cannot stage the request FILE: ") && said.contains("ServiceUnknown"), "{said}");
    let _service = bus.serve();
    let said = staged();
    assert!(said.contains("this machine has no recovery partition"), "{said}");
}

#[test]
fn nothing_is_written_when_logind_does_not_give_its_lock() {
    let bus = Bus::start(&Policy::Open);
    let _service = bus.serve();
    let (_there, _) = logind(&bus, false);
    let (name, text) = stage(&bus.connect());
    assert_eq!(name, format!("{NAME}.Error.Failed"));
    assert!(text.starts_with("cannot hold off a shutdown by logind: ") && text.ends_with("not you"), "{text}");
}

#[test]
fn staging_is_for_root_and_says_what_waits() {
    let bus = Bus::start(&Policy::Open);
    let _service = bus.serve();
    let connection = bus.connect();
    let get = format!("{}.Get", "org.freedesktop.DBus.Properties");
    let cancel = format!("{REIMAGE}.Cancel");
    for arguments in [&[cancel.as_str(), "string:a"][..], &[&get, &format!("string:{REIMAGE}"), "string:Staged"]] {
        let output = bus.send_as(STRANGER, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("only root may call this service: the caller is user 65534"), "{arguments:?}: {said}");
    }
    let staged = || {
        let answer = call(&connection, "org.freedesktop.DBus.Properties", "Get", &(REIMAGE, "Staged")).unwrap();
        String::try_from(answer.body().deserialize::<zbus::OwnedVariant>().unwrap()).unwrap()
    };
    assert_eq!(staged(), "");
    let error = call(&connection, REIMAGE, "Cancel", &"a").map(drop).unwrap_err().0;
    assert_eq!(error, format!("{NAME}.Error.NoRecovery"));
    // What cannot be read is not nothing.
    fs::remove_dir(bus.folder.path().join("block")).unwrap();
    let failed =
        call(&connection, "org.freedesktop.DBus.Properties", "Get", &(REIMAGE, "Staged")).map(drop).unwrap_err();
    assert_eq!(failed.0, "org.freedesktop.DBus.Error.Failed");
    assert!(failed.1.contains("cannot read"), "{failed:?}");
}
