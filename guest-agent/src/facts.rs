//! `facts`: what the machine is, for a host that is to know it again. Only reads the kernel's lists; must not be part of a
//! reimage.

use std::process::ExitCode;

use cloud_machine_protocol::{FACTS_KIND, FACTS_VERSION, FactsDocument, causes, escaped, safe_json};
use cloud_machine_system::facts;

use crate::{inventory::tell, print::print};

/// Argument that makes the agent's binary this tool.
pub(crate) const ARGUMENT: &str = "facts";

const USAGE: &str = "\
cloud-machine-agent facts says what this machine is: names, firmware, network interfaces with their addresses, disks, and
whether the running system lies on one of them. It only reads, opens no disk, and needs root for the machine's UUID.

usage: cloud-machine-agent facts

  --help  print this

examples:
  cloud-machine-agent facts
  cloud-machine-agent facts | jq -r '.value.interfaces[] | [.name, .mac] | @tsv'

exit codes: 0 one JSON object was printed, sizes in bytes; 1 something is there and cannot be read; 2 wrong usage
";

/// Prints the facts.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    match arguments.next().as_deref() {
        None => {}
        Some("--help" | "-h") => return print(USAGE, 0),
        Some(other) => {
            tell(&format!("error: unknown argument {}\n\n{USAGE}", escaped(other)));
            return ExitCode::from(2);
        }
    }
    let facts = match facts() {
        Ok(facts) => facts,
        Err(error) => {
            tell(&format!("error: {}\n", escaped(&causes(&error))));
            return ExitCode::FAILURE;
        }
    };
    match safe_json(&FactsDocument { kind: FACTS_KIND.to_owned(), version: FACTS_VERSION, value: facts }) {
        Ok(text) => print(&text, 0),
        Err(error) => {
            tell(&format!("error: cannot encode the facts: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
