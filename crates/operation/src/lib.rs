//! What can be done with a machine: create, start, stop, reimage, verify, plan, delete. Owns the order in which an operation is
//! believable; must not print, ask, parse arguments or know an exit code.

pub mod access;
mod admission;
mod adopt;
mod agent_request;
mod attempt;
pub mod audit;
mod clock;
mod cloud_init;
mod conversation;
mod create;
mod delete;
pub mod described;
pub mod devices;
mod disks;
pub mod documents;
pub mod drives;
mod entrances;
mod error;
mod event;
pub mod evidence;
mod expectation;
mod explain;
mod hint;
mod history;
pub mod host_certificate;
mod host_key;
pub mod installed;
pub mod life;
mod list;
mod network;
mod orphans;
mod plan;
mod prepare;
mod provision;
pub mod readable;
mod rebuild;
mod rebuilt;
mod refusal;
mod reimage;
mod request;
pub mod room;
mod rounding;
mod served_image;
pub mod signature;
pub mod space;
mod start;
mod startup;
mod stop;
mod system_disk;
mod teller;
mod under_lock;
pub mod url_document;
mod verify;
pub mod volume;

use cloud_machine_driver::machine::{Driver, Drivers};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::{MachineRecord, Store};

pub use admission::Exceptions;
pub use adopt::{Adopted, Adoption, Login, Surveyed, Vouched};
pub use clock::PhaseTime;
pub use create::Creation;
pub use described::Described;
pub use error::{During, ErrorKind, OperationError, causes, chain};
pub use event::{Event, Happening, Notice, Observer, Operation, Phase, Task};
pub use hint::Hint;
pub use list::Listed;
pub use orphans::Forgotten;
pub use plan::{Planned, PlannedStep};
pub use prepare::command_line;
pub use refusal::{Refusal, RefusedPlace};
pub use reimage::{Reimage, Reimaged};
pub use stop::{Stop, Stopped};
pub use system_disk::{ReimageOptions, check as check_strategy};
pub use teller::{Teller, Working};
pub use verify::{Verified, Verify};

/// The operations on the machines of a state folder.
#[derive(Clone, Copy)]
pub struct Operations<'a> {
    /// Where machines and images are kept.
    pub store: &'a Store,
    /// What machines can be.
    pub drivers: &'a Drivers,
    /// Who is told what goes on.
    pub observer: &'a dyn Observer,
}

impl<'a> Operations<'a> {
    /// The driver called `name`.
    fn driver(&self, name: &str) -> Result<&'a dyn Driver, OperationError> {
        driver(self.drivers, name)
    }

    /// The driver of a machine that is there.
    fn driver_of(&self, record: &MachineRecord) -> Result<&'a dyn Driver, OperationError> {
        self.driver(&record.driver).map_err(|error| error.hint(Hint::DriverOfRecord(record.driver.clone())))
    }

    fn teller(&self, machine: &'a MachineName, operation: Operation) -> Teller<'a> {
        Teller::new(self.observer, machine, operation)
    }
}

/// The driver that a configuration names, or a refusal at the place where it does.
///
/// # Errors
/// Of [`ErrorKind::Refused`]: this program has no such driver.
pub fn configured_driver<'a>(drivers: &'a Drivers, described: &Described) -> Result<&'a dyn Driver, OperationError> {
    let name = &described.config.driver;
    drivers.get(name).ok_or_else(|| {
        let known: Vec<&str> = drivers.names().collect();
        described::refused(described.merged.error_at(
            "driver",
            &format!("unknown driver `{name}`"),
            &known.join(" or "),
        ))
    })
}

/// The driver called `name`.
fn driver<'a>(drivers: &'a Drivers, name: &str) -> Result<&'a dyn Driver, OperationError> {
    drivers.get(name).ok_or_else(|| {
        let known: Vec<&str> = drivers.names().collect();
        let text = format!("unknown driver {name:?}; available: {}", known.join(", "));
        OperationError::new(ErrorKind::Refused, text)
    })
}
