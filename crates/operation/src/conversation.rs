//! The order in which an agent may speak: hello, any number of events, one report, and then nothing until the host's word.
//! Must not judge what a report says.

use cloud_machine_protocol::{AgentMessage, Event, FORMAT_VERSION, Hello, Read, Report, ReportResult, escape};

use crate::{
    error::{ErrorKind, OperationError},
    hint::Hint,
};

/// Characters of what an agent says of why it could not begin.
const MAX_CAUSES: usize = 1000;

/// What was heard so far.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    hello: Option<Hello>,
    reported: bool,
}

/// What a message is good for.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The agent is there.
    Hello,
    /// Progress.
    Event(Event),
    /// It wants bytes of the image.
    Read(Read),
    /// What it did and found.
    Report(Box<Report>),
}

impl Conversation {
    /// Takes the next message.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`]: one that is out of order, of an unknown version, or from another boot than the hello.
    pub(crate) fn hear(&mut self, message: AgentMessage) -> Result<Heard, OperationError> {
        let refuse = |text: String| Err(OperationError::new(ErrorKind::Verification, text));
        match (message, &self.hello) {
            (_, _) if self.reported => refuse("the agent spoke again after its report".to_owned()),
            (AgentMessage::Hello(hello), None) if hello.version == FORMAT_VERSION => {
                self.hello = Some(hello);
                Ok(Heard::Hello)
            }
            (AgentMessage::Hello(hello), None) => {
                let text = format!("the agent speaks format version {}, this program {FORMAT_VERSION}", hello.version);
                Err(OperationError::new(ErrorKind::Verification, text).hint(Hint::PackWithThisAgent))
            }
            (AgentMessage::Hello(_), Some(_)) => refuse("the agent said hello twice".to_owned()),
            (AgentMessage::Event(_), None) => refuse("the agent told of progress before it said hello".to_owned()),
            (AgentMessage::Report(report), None) => refuse(match &report.result {
                // It says why.
                ReportResult::Failed { causes, .. } => {
                    let causes = causes.join(": ");
                    format!("the agent could not begin: {}", escape::line(causes.as_bytes(), MAX_CAUSES))
                }
                ReportResult::Done => "the agent reported before it said hello".to_owned(),
            }),
            (AgentMessage::Read(_), None) => refuse("the agent read the image before it said hello".to_owned()),
            (AgentMessage::Read(read), Some(_)) => Ok(Heard::Read(read)),
            (AgentMessage::Event(event), Some(_)) => Ok(Heard::Event(event)),
            (AgentMessage::Report(report), Some(hello)) => {
                // A report that the supervisor makes for a worker that died knows nothing of the boot.
                // Whoever stages a request does not know yet which boot will report.
                let known = !report.boot_id.is_empty() && !hello.boot_id.is_empty();
                if known && report.boot_id != hello.boot_id {
                    return refuse("the report is of another boot than the agent's first message".to_owned());
                }
                self.reported = true;
                Ok(Heard::Report(report))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::{AgentEvidence, Algorithm, Digest};

    use super::*;

    fn hello(version: u32) -> AgentMessage {
        AgentMessage::Hello(Hello { version, agent: "0".to_owned(), boot_id: "a".to_owned() })
    }

    fn event() -> AgentMessage {
        AgentMessage::Event(Event { at: 0, step: None, message: String::new(), done: None, total: None })
    }

    fn failed() -> AgentMessage {
        let AgentMessage::Report(mut report) = report("") else { unreachable!() };
        report.result = ReportResult::Failed { step: None, causes: vec!["no lock".to_owned(), "a\u{1b}b".to_owned()] };
        AgentMessage::Report(report)
    }

    fn read() -> AgentMessage {
        AgentMessage::Read(Read { offset: 0, length: 1 })
    }

    fn report(boot_id: &str) -> AgentMessage {
        let digest = Digest::new(Algorithm::Sha256, [0; 32]);
        AgentMessage::Report(Box::new(Report {
            version: FORMAT_VERSION,
            request_id: None,
            nonce: None,
            machine_uuid: None,
            action: None,
            boot_id: boot_id.to_owned(),
            result: ReportResult::Done,
            agent: AgentEvidence {
                version: "0".to_owned(),
                digest: Some(digest),
                kernel_release: "6".to_owned(),
                command_line_digest: digest,
            },
            image: None,
            config: None,
            steps: Vec::new(),
            devices: Vec::new(),
            image_source: None,
            disks: Vec::new(),
            root: None,
            changed: Vec::new(),
            ignored_volumes: Vec::new(),
            identity: Vec::new(),
            not_covered: Vec::new(),
            timings: Vec::new(),
        }))
    }

    /// The reason of the first refused message; none when all are taken.
    fn heard(messages: Vec<AgentMessage>) -> Option<String> {
        let mut conversation = Conversation::default();
        messages.into_iter().find_map(|message| conversation.hear(message).err()).map(|failure| {
            assert_eq!(failure.kind, ErrorKind::Verification);
            failure.error.to_string()
        })
    }

    #[test]
    fn only_the_order_of_an_agent_is_taken() {
        let good = || hello(FORMAT_VERSION);
        assert_eq!(heard(vec![good(), event(), event(), report("a")]), None);
        assert_eq!(heard(vec![good(), report("a")]), None);
        assert_eq!(heard(vec![good(), report("")]), None, "of a worker that died");
        let staged =
            AgentMessage::Hello(Hello { version: FORMAT_VERSION, agent: "0".to_owned(), boot_id: String::new() });
        assert_eq!(heard(vec![staged, event(), report("a")]), None, "of a machine that reimages itself");
        for (messages, reason) in [
            (vec![report("a")], "reported before it said hello"),
            (vec![failed()], "the agent could not begin: no lock: a\\u{1b}b"),
            (vec![event(), good()], "progress before it said hello"),
            (vec![read(), good()], "read the image before it said hello"),
            (vec![good(), read(), report("a"), read()], "again after its report"),
            (vec![good(), good()], "hello twice"),
            (vec![good(), event(), good()], "hello twice"),
            (vec![hello(FORMAT_VERSION + 1)], "format version"),
            (vec![good(), report("b")], "another boot"),
            (vec![good(), report("a"), report("a")], "again after its report"),
            (vec![good(), report("a"), report("")], "again after its report"),
            (vec![good(), report("a"), event()], "again after its report"),
            (vec![good(), report("a"), good()], "again after its report"),
        ] {
            let found = heard(messages);
            assert!(found.as_ref().is_some_and(|found| found.contains(reason)), "{reason}: {found:?}");
        }
    }
}
