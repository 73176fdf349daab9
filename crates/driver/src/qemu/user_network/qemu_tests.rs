//! What a real QEMU makes of frames that a machine may send, with the relay and without it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::Connection;
use cloud_machine_store::AttemptFolder;

use super::{
    SOCKETS,
    relay::{carry, open},
};
use crate::{
    qemu::{Accelerator, Launch, Process, Qemu, TCG_CPU, pidfd::readable},
    ssh,
};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const SYN: u8 = 2;
const ACK: u8 = 0x10;

struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.stop(Duration::from_secs(2));
    }
}

/// The end of the wire where a machine's interface would be.
struct Interface(UnixStream);

impl Interface {
    fn send(&mut self, kind: [u8; 2], packet: &[u8]) {
        let frame = [[0xff; 6].as_slice(), &MAC, &kind, packet].concat();
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.0.write_all(&[length.as_slice(), &frame].concat()).unwrap();
    }

    fn arp(&mut self, operation: u8, to: Ipv4Addr) {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        self.send([8, 6], &[head.as_slice(), &MAC, &OWN.octets(), &[0; 6], &to.octets(), &[0; 18]].concat());
    }

    /// A segment of TCP without data.
    fn tcp(&mut self, to: Ipv4Addr, ports: (u16, u16), acknowledged: u32, flags: u8) {
        let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        segment.extend(1000_u32.to_be_bytes().into_iter().chain(acknowledged.to_be_bytes()));
        segment.extend([0x50, flags, 0xff, 0, 0, 0, 0, 0]);
        let pseudo = [OWN.octets().as_slice(), &to.octets(), &[0, 6, 0, 20], &segment].concat();
        segment[16..18].copy_from_slice(&checksum(&pseudo));
        let mut header = [[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0].as_slice(), &OWN.octets(), &to.octets()].concat();
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
        self.send([8, 0], &[header, segment].concat());
    }

    /// Reads frames until one is as wanted.
    fn until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).unwrap();
            let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            self.0.read_exact(&mut frame).unwrap();
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Everything that was sent before has been handled once this is answered.
    fn handled(&mut self) {
        self.arp(1, HOST);
        self.until(|frame| frame[12..14] == [8, 6] && frame[21] == 2);
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn closed(folder: &AttemptFolder, port: u16) -> Launch {
    Launch {
        name: "test".parse().unwrap(),
        uuid: "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad117".to_owned(),
        memory_mib: 64,
        cpus: 1,
        accelerator: Accelerator::Tcg,
        cpu_model: TCG_CPU.to_owned(),
        boot: None,
        drives: vec![],
        mac: "52:54:00:12:34:56".parse().unwrap(),
        connection: Connection::UserClosed,
        nics: Vec::new(),
        ssh_port: Some(port),
        folder: folder.clone(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Whether a connection of this test's own is the only one that has arrived.
fn only_own_arrives(listener: &TcpListener) -> bool {
    let own = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_, first) = listener.accept().unwrap();
    listener.set_nonblocking(true).unwrap();
    let more = listener.accept().map_err(|error| error.kind());
    first == own.local_addr().unwrap() && more.is_err_and(|kind| kind == ErrorKind::WouldBlock)
}

/// A machine that runs, and the end of its wire at the user network.
struct Running {
    port: u16,
    wire: UnixStream,
    _machine: Guard,
    _home: tempfile::TempDir,
}

fn running() -> Running {
    let home = tempfile::tempdir().unwrap();
    let folder = AttemptFolder::at(home.path().to_owned(), 1);
    let port = ssh::free_port().unwrap();
    let machine = Guard(Qemu::default().begin(&closed(&folder, port)).expect("install qemu-system-x86, 7.2 or later"));
    // A machine that stands still has no network.
    machine.0.resume(soon()).unwrap();
    let wire = open(&folder.path().join(SOCKETS[1]), soon()).unwrap();
    Running { port, wire, _machine: machine, _home: home }
}

fn interface(stream: UnixStream) -> Interface {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut interface = Interface(stream);
    interface.handled();
    interface
}

/// Asks in three ways for a port of the loopback interface of the host.
fn knock(interface: &mut Interface, service: &TcpListener) {
    let port = service.local_addr().unwrap().port();
    for (from, to) in (4000..).zip(["10.0.2.2", "127.0.0.1", "0.0.0.0"]) {
        interface.tcp(to.parse().unwrap(), (from, port), 0, SYN);
    }
    interface.handled();
}

#[test]
fn qemu_itself_keeps_nothing_of_the_loopback_interface_back() {
    let running = running();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    knock(&mut interface(running.wire), &listener);
    for _ in 0..3 {
        assert!(readable(listener.as_fd(), soon()).unwrap(), "fewer arrived: the relay has less to do");
        listener.accept().unwrap();
    }
}

#[test]
fn through_the_relay_ssh_is_answered_and_the_loopback_interface_is_not_reached() {
    let running = running();
    let (own, machine) = UnixStream::pair().unwrap();
    let network = running.wire;
    let relay = thread::spawn(move || carry(&machine, &network));
    let mut interface = interface(own);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    knock(&mut interface, &listener);
    assert!(only_own_arrives(&listener), "a connection came through the relay");

    // Whoever asks at the forwarded port is answered.
    let _asking = TcpStream::connect(("127.0.0.1", running.port)).unwrap();
    let is_tcp = |frame: &[u8], flags: u8| frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] & 0x17 == flags;
    let asked = interface.until(|frame| is_tcp(frame, SYN));
    let from = u16::from_be_bytes([asked[34], asked[35]]);
    let sequence = u32::from_be_bytes([asked[38], asked[39], asked[40], asked[41]]);
    interface.tcp(HOST, (22, from), sequence.wrapping_add(1), SYN | ACK);
    interface.until(|frame| is_tcp(frame, ACK));
    drop(interface);
    relay.join().unwrap().unwrap();
}

/// The relay of this program is the test program, which knows nothing of it.
#[test]
fn a_machine_whose_relay_does_not_begin_is_ended_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let folder = AttemptFolder::at(home.path().to_owned(), 1);
    let launch = closed(&folder, ssh::free_port().unwrap());
    let error = Qemu::default().launch(&launch).unwrap_err();
    assert!(error.to_string().starts_with("cannot begin the process that closes"), "{error}");
    assert!(Process::attach(&folder, &launch.uuid).unwrap().is_none(), "the machine is left behind");
}
