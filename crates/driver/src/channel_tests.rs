use std::{
    collections::BTreeMap,
    io::{Read, Write},
    thread,
    time::Duration,
};

use cloud_machine_protocol::{
    Action, AgentEvidence, ConfigEvidence, Digest, Event, Hello, Nonce, Report, ReportResult,
};
use proptest::prelude::*;

use super::*;

fn pair() -> (AgentChannel, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (AgentChannel::new(ours), theirs)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(150)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Writes from a thread of its own, since a socket holds only so much; ends when the other end is closed.
fn flood(mut stream: UnixStream, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> thread::JoinHandle<usize> {
    thread::spawn(move || pieces.map_while(|piece| stream.write_all(&piece).ok().map(|()| piece.len())).sum())
}

fn report(origins: usize) -> AgentMessage {
    let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    AgentMessage::Report(Box::new(Report {
        version: 1,
        request_id: Some("01JD3QV8W0ABCDEFGHJKMNPQRS".to_owned()),
        nonce: Some(Nonce::from_random([7; 32])),
        machine_uuid: Some("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111".to_owned()),
        action: Some(Action::Reimage),
        boot_id: "b".to_owned(),
        result: ReportResult::Done,
        agent: AgentEvidence {
            version: "0.1.0".to_owned(),
            digest: Some(digest),
            kernel_release: "6.1".to_owned(),
            command_line_digest: digest,
        },
        image: None,
        config: Some(ConfigEvidence {
            volume: Some(digest),
            document: digest,
            url: None,
            drives: vec![],
            origins: (0..origins).map(|index| (format!("key-{index}"), "x".repeat(50))).collect::<BTreeMap<_, _>>(),
        }),
        steps: vec![],
        devices: vec![],
        disks: vec![],
        root: None,
        changed: vec![],
        image_source: None,
        ignored_volumes: vec![],
        identity: vec![],
        not_covered: vec![],
        timings: vec![],
    }))
}

fn bytes(message: &AgentMessage) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap();
    line.push(b'\n');
    line
}

#[test]
fn messages_arrive_in_order_also_in_small_pieces_and_the_answer_goes_back() {
    let (mut channel, mut agent) = pair();
    let messages = [
        AgentMessage::Hello(Hello { version: 1, agent: "0.1.0".to_owned(), boot_id: "b".to_owned() }),
        AgentMessage::Event(Event { at: 5, step: None, message: "reading".to_owned(), done: Some(1), total: Some(2) }),
        report(5_000),
    ];
    let all: Vec<u8> = messages.iter().flat_map(bytes).collect();
    assert!(all.len() > 4 * MAX_LINE, "the report is longer than another line may be");
    let pieces: Vec<Vec<u8>> = all.chunks(1021).map(<[u8]>::to_vec).collect();
    let writer = flood(agent.try_clone().unwrap(), pieces.into_iter());
    for message in &messages {
        assert_eq!(channel.next(later()).unwrap(), *message);
    }
    writer.join().unwrap();
    let go = HostMessage::Go { nonce: Nonce::from_random([7; 32]), certificate: None };
    channel.send(&go, soon()).unwrap();
    let mut answer = vec![0; serde_json::to_vec(&go).unwrap().len() + 1];
    agent.read_exact(&mut answer).unwrap();
    assert_eq!(serde_json::from_slice::<HostMessage>(&answer).unwrap(), go);
    assert_eq!(answer.last(), Some(&b'\n'));
}

#[test]
fn silence_is_not_closure_and_half_a_line_waits() {
    let (mut channel, mut agent) = pair();
    assert!(matches!(channel.next(soon()), Err(ChannelError::TimedOut)));
    let line = bytes(&report(0));
    let (first, second) = line.split_at(40);
    agent.write_all(first).unwrap();
    assert!(matches!(channel.next(soon()), Err(ChannelError::TimedOut)));
    agent.write_all(second).unwrap();
    assert_eq!(channel.next(later()).unwrap(), report(0));
    agent.write_all(b"{\"kind\":").unwrap();
    drop(agent);
    let error = channel.next(later()).unwrap_err();
    assert!(matches!(error, ChannelError::Closed));
    assert_eq!(error.to_string(), "the machine closed the agent's port");
    let go = HostMessage::Stop { reason: "late".to_owned() };
    assert!(matches!(channel.send(&go, soon()), Err(ChannelError::Closed)));
}

#[test]
fn a_line_without_end_is_stopped_at_the_limit_of_its_kind() {
    for (start, limit) in [(&b"{\"kind\":\"event\","[..], MAX_LINE), (b"\0\0\0", MAX_LINE), (REPORT_START, MAX_REPORT)]
    {
        let (mut channel, agent) = pair();
        let start = start.to_vec();
        let writer = flood(agent, std::iter::once(start).chain(std::iter::repeat(vec![b' '; 4096])));
        let error = channel.next(later()).unwrap_err();
        assert_eq!(error.to_string(), format!("a line from the agent is longer than {limit} bytes"));
        assert!(channel.lines.held() <= limit + 8192, "no more than a piece beyond the limit is held");
        assert!(channel.next(later()).is_err(), "and it stays stopped");
        drop(channel);
        writer.join().unwrap();
    }
}

#[test]
fn a_long_line_that_only_begins_like_a_report_is_no_message() {
    let (mut channel, agent) = pair();
    let mut line = REPORT_START.to_vec();
    line.extend(vec![b' '; MAX_LINE]);
    line.extend(b"\"kind\":\"event\",\"at\":1,\"message\":\"x\"}\n");
    let writer = flood(agent, std::iter::once(line));
    let error = channel.next(later()).unwrap_err();
    assert!(matches!(error, ChannelError::Invalid { .. }), "{error:?}");
    writer.join().unwrap();
}

#[test]
fn a_flood_of_lines_ends() {
    let (mut channel, agent) = pair();
    let event = AgentMessage::Event(Event { at: 0, step: None, message: String::new(), done: None, total: None });
    let line = bytes(&event);
    let writer = flood(agent, std::iter::repeat(line));
    for _ in 0..MAX_LINES {
        channel.next(later()).unwrap();
    }
    let error = channel.next(later()).unwrap_err();
    assert_eq!(error.to_string(), "the agent sent more than 10000 lines");
    drop(channel);
    assert!(writer.join().unwrap() > 0);
}

#[test]
fn what_is_no_message_is_refused_and_shown_harmless() {
    let deep = format!("{{\"kind\":\"report\",\"x\":{}", "[".repeat(100_000));
    for (line, shown) in [
        (&b""[..], "a line from the agent is no message: "),
        (b"\x1b]0;evil\x07", "a line from the agent is no message: \\u{1b}]0;evil\\u{7}"),
        (b"\xff\xfe\0", "a line from the agent is no message: \\xff\\xfe\\u{0}"),
        (b"{\"kind\":\"go\"}", "a line from the agent is no message: {\"kind\":\"go\"}"),
        (b"[]", "a line from the agent is no message: []"),
        (b"{\"kind\":\"hello\"} x", "a line from the agent is no message: {\"kind\":\"hello\"} x"),
        (deep.as_bytes(), "a line from the agent nests deeper than 16: {\"kind\":\"report\",\"x\":[[[["),
    ] {
        let (mut channel, agent) = pair();
        let writer = flood(agent, std::iter::once([line, b"\n"].concat()));
        let error = channel.next(later()).unwrap_err();
        assert!(error.to_string().starts_with(shown), "{error} / {shown}");
        assert!(!format!("{error} {error:?}").chars().any(char::is_control));
        writer.join().unwrap();
    }
}

#[test]
fn an_answer_that_nobody_reads_ends_at_the_deadline() {
    let (mut channel, _agent) = pair();
    let stop = HostMessage::Stop { reason: "x".repeat(16 << 20) };
    assert!(matches!(channel.send(&stop, soon()), Err(ChannelError::TimedOut)));
}

#[test]
fn a_missing_socket_is_named() {
    let error = AgentChannel::connect(Path::new("/nonexistent/agent.sock"), soon()).unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to the agent's port /nonexistent/agent.sock");
}

#[test]
fn depth_ignores_brackets_in_strings() {
    for (text, expected) in [("1", 0), ("{}", 1), ("[[],[{}]]", 3), (r#"{"a":"[[[[\"[["}"#, 1), (r#"["\\",[]]"#, 2)] {
        assert_eq!(depth(text.as_bytes()), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_line_makes_the_reader_panic_or_say_something_harmful(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = parse(&line) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}
