//! The recovery partition, seen from the start of the machine's own system: makes it where the policy wants one, and starts a
//! request that is staged there. Must not rewrite the disk itself: what the recovery partition starts does, after a cut as well.

use std::{fs::File, io::Read};

use cloud_machine_config::Policy;
use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::causes;
use cloud_machine_recovery::{Control, GivenBack, Head, RecoveryPartition, give_back, prepare};
use cloud_machine_system::{
    SystemError, kernel, power, product_uuid, reread_partitions,
    survey::{Row, survey},
};

use super::root;
use crate::{
    error::AgentError,
    host::Host,
    pass::node,
    recovery::{
        self,
        next::{self, AtBoot},
    },
};

/// A recovery partition of the disk with the root.
struct Own {
    device: String,
    disk: Disk,
    partition: RecoveryPartition,
    /// Whether it was made now.
    made: bool,
}

/// What became of a request.
enum Outcome {
    /// The boot goes on.
    Boot,
    /// None can be read.
    Unknown,
    /// The recovery partition is started next.
    Armed,
    /// It is given up, and the boot head of before has to come back.
    GivenUp(Box<Control>, String),
}

/// Does what there is to do. Without `recovery` in the policy that is nothing: no request counts.
pub(super) fn at_boot(policy: &Policy, host: &mut Host) -> Result<(), AgentError> {
    let Some(size) = policy.recovery else { return Ok(()) };
    // A machine without one works; it cannot reimage itself.
    let none = |error: &dyn std::error::Error| format!("there is no recovery partition: {}", causes(error));
    let (device, disk) = match root_disk() {
        Ok(found) => found,
        Err(error) => return host.event(None, &none(&error)),
    };
    let own = match Own::prepare(device.clone(), disk, size.bytes()) {
        Ok(own) => own,
        Err(error) => {
            host.event(None, &none(&error))?;
            return without_partition(&device, host);
        }
    };
    if own.made {
        let text = format!("made a recovery partition of {} bytes at the end of {}", own.partition.length, own.device);
        host.event(None, &text)?;
    }
    let advanced = match Control::read(&own.disk, own.partition) {
        Ok(Some(control)) => own.advance(control, host),
        Ok(None) => Ok(Outcome::Unknown),
        Err(error) => {
            host.event(None, &format!("nothing is reimaged: {}", causes(&error)))?;
            Ok(Outcome::Unknown)
        }
    };
    let outcome = match advanced {
        Ok(outcome) => outcome,
        Err(error @ AgentError::HalfRewritten { .. }) => return Err(error),
        // The system on the disk is whole, and a sector that cannot be read must not keep it from starting.
        Err(error) => {
            host.event(None, &format!("nothing is reimaged: {}", causes(&error)))?;
            Outcome::Boot
        }
    };
    let Own { device, disk, partition, made } = own;
    drop(disk);
    match outcome {
        Outcome::Boot if !made => Ok(()),
        Outcome::Boot => reread(&device, host),
        Outcome::Unknown if !made => without_partition(&device, host),
        Outcome::Unknown => reread(&device, host),
        Outcome::Armed => {
            kernel::log("the machine is reset, and its recovery partition reimages it");
            power::reset();
            Err(AgentError::NoReset)
        }
        Outcome::GivenUp(control, reason) => {
            host.event(None, &format!("the reimage that is staged is given up: {reason}"))?;
            if let Err(error) = recovery::give_back(&device, partition, &control, reason) {
                host.event(None, &causes(&error))?;
            }
            reread(&device, host)
        }
    }
}

/// The boot goes on without a request that counts, but not under a boot head that starts the recovery partition: where a system is
/// whole its own head comes back, and elsewhere the boot stops.
fn without_partition(device: &str, host: &mut Host) -> Result<(), AgentError> {
    let back =
        Disk::open(&node(device), Access::Write).map_err(AgentError::from).and_then(|disk| Ok(give_back(&disk)?));
    match back {
        Ok(GivenBack::NotStarted) => Ok(()),
        Ok(GivenBack::Back) => {
            host.event(None, "the boot head started the recovery partition: the one of before is in its place again")?;
            reread(device, host)
        }
        Ok(GivenBack::NotWhole) => Err(AgentError::HalfRewritten { device: device.to_owned() }),
        Err(error) => host.event(None, &format!("the boot head stays as it is: {}", causes(&error))),
    }
}

/// The kernel knows all partitions but the one that was made: whoever stages a request finds it after the next start at the latest.
fn reread(device: &str, host: &mut Host) -> Result<(), AgentError> {
    match reread_partitions(device) {
        Ok(()) => Ok(()),
        Err(error) => {
            host.event(None, &format!("the recovery partition counts from the next start on: {}", causes(&error)))
        }
    }
}

/// The disk with the root, by its kernel name.
fn root_disk() -> Result<(String, Disk), AgentError> {
    let survey = survey(false)?;
    // One that cannot be read may be the one with the root, and another may look like it.
    if survey.disks.iter().any(|row| matches!(row, Row::Unreadable { .. })) {
        return Err(AgentError::RootDiskUnclear);
    }
    let disks = root::disks_with_root(&kernel::command_line()?, &survey);
    let [device] = disks.as_slice() else { return Err(AgentError::RootDiskUnclear) };
    let disk = Disk::open(&node(device), Access::Write)?;
    Ok((device.clone(), disk))
}

impl Own {
    /// The partition of the disk, made of `size` bytes where there is none.
    fn prepare(device: String, disk: Disk, size: u64) -> Result<Self, AgentError> {
        const RANDOM: &str = "/dev/urandom";
        let mut identity = [0; 16];
        File::open(RANDOM)
            .and_then(|mut random| random.read_exact(&mut identity))
            .map_err(SystemError::io("read", RANDOM))?;
        let (partition, made) = prepare(&disk, size, identity)?;
        Ok(Self { device, disk, partition, made })
    }

    /// Carries a request one state further.
    fn advance(&self, mut control: Control, host: &mut Host) -> Result<Outcome, AgentError> {
        let Self { device, disk, partition, .. } = self;
        let head = Head::read(disk)?;
        match next::at_boot(control.state) {
            AtBoot::Boot => return Ok(Outcome::Boot),
            AtBoot::Arm => {
                if let Some(reason) = self.not_for_here(&control)? {
                    host.event(None, &format!("the reimage that is staged is given up: {reason}"))?;
                    control.give_up(reason);
                    control.write_last(disk, *partition)?;
                    return Ok(Outcome::Boot);
                }
                host.event(None, &format!("a reimage of {device} is staged"))?;
                partition.arm(disk, &head, &mut control)?;
            }
            AtBoot::StartRecovery => {
                // The recovery partition gives such a request's head back, and it must not be tried again.
                if let Some(reason) = self.not_for_here(&control)? {
                    return Ok(Outcome::GivenUp(Box::new(control), reason));
                }
            }
            AtBoot::Stop => return Err(AgentError::HalfRewritten { device: device.clone() }),
            AtBoot::Finish => {
                host.event(None, "the reimage is finished: this is the new system")?;
                recovery::finish(disk, *partition, control)?;
                return Ok(Outcome::Boot);
            }
        }
        let interim = partition.kept_head(disk)?.interim(control.boot_code()?.as_ref())?;
        if head == interim {
            let reason = next::not_started(partition.starts(disk)?);
            return Ok(Outcome::GivenUp(Box::new(control), reason));
        }
        interim.start_recovery(disk)?;
        Ok(Outcome::Armed)
    }

    /// Why a request is not for this machine and this disk.
    fn not_for_here(&self, control: &Control) -> Result<Option<String>, AgentError> {
        let uuid = product_uuid()?.map_or_else(|| "one without a UUID".to_owned(), |uuid| uuid.to_string());
        let (machine, wanted, found) = (&control.machine, control.disk_size, self.disk.size());
        Ok(if uuid != *machine {
            Some(format!("it is for machine {machine}, and this is {uuid}"))
        } else if wanted != found {
            Some(format!("it is for a disk of {wanted} bytes, and this one has {found}"))
        } else {
            None
        })
    }
}

#[cfg(test)]
mod tests;
