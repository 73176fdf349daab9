//! What a cloud's servers run on, behind the API, and a kind that only remembers what it was told.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// An image of the provider's own.
#[derive(Clone, Debug)]
pub struct SystemImage {
    /// Such as `debian-12`.
    pub name: String,
    /// Size of the disk that it needs, in GB.
    pub disk_size: u64,
}

/// A machine before it is made.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Of its server.
    pub id: u64,
    /// Its host name.
    pub name: String,
    /// Where it is reached.
    pub address: Ipv4Addr,
    /// Of the server's type.
    pub cores: u64,
    /// Of the server's type, in MiB.
    pub memory: u64,
    /// What is written on its disk.
    pub contents: Contents,
}

/// What a disk is written with.
#[derive(Clone, Debug)]
pub struct Contents {
    /// A system image's name, or a snapshot's number.
    pub image: Source,
    /// Public keys that may log in as root.
    pub keys: Vec<String>,
    /// What the server was given for cloud-init.
    pub user_data: Option<String>,
}

/// An image as the machines know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Of the provider's own, by its name.
    System(String),
    /// Made of a server, by its number.
    Snapshot(u64),
}

/// How the next boot goes into the rescue system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// Public keys that may log in as root.
    pub keys: Vec<String>,
    /// Root's password there.
    pub password: String,
    /// Boots go to the disk all the same, and leave this as it is.
    pub ignored: bool,
    /// It mounts the machine's disk.
    pub uses_disk: bool,
}

/// How a machine is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is powered.
    pub on: bool,
    /// Whether its next boot goes into the rescue system.
    pub rescue: bool,
}

/// Why something could not be done, as an action's error says it.
pub type Failure = String;

/// What servers run on. All is done when a call returns; one call at a time is about one machine.
pub trait Machines: Send + Sync {
    /// Images of the provider's own.
    fn images(&self) -> Vec<SystemImage>;
    /// Makes a machine, which is off.
    ///
    /// # Errors
    /// When it cannot be made; then nothing of it is left.
    fn create(&self, spec: &Spec) -> Result<(), Failure>;
    /// Writes the disk of a machine anew; it is off.
    ///
    /// # Errors
    /// When it cannot be written; the disk may have anything then.
    fn write(&self, id: u64, contents: &Contents) -> Result<(), Failure>;
    /// Powers a machine on; nothing happens if it is.
    ///
    /// # Errors
    /// When it does not start.
    fn power_on(&self, id: u64) -> Result<(), Failure>;
    /// Cuts the power; nothing happens if it is off.
    ///
    /// # Errors
    /// When it cannot be cut.
    fn power_off(&self, id: u64) -> Result<(), Failure>;
    /// Presses the power button; what comes of it is the system's own affair.
    ///
    /// # Errors
    /// When it cannot be pressed.
    fn press_power_button(&self, id: u64) -> Result<(), Failure>;
    /// Asks the system to reboot; what comes of it is the system's own affair.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn reboot(&self, id: u64) -> Result<(), Failure>;
    /// Sets, or clears, what the next boot of a machine goes into instead of its disk. The boot clears it, whoever began it.
    ///
    /// # Errors
    /// When it cannot be set.
    fn set_rescue(&self, id: u64, rescue: Option<Rescue>) -> Result<(), Failure>;
    /// How a machine is; nothing if there is none.
    fn look(&self, id: u64) -> Option<Seen>;
    /// Copies a machine's disk, as it is, into a snapshot, and tells its size in bytes.
    ///
    /// # Errors
    /// When it cannot be copied; then nothing of it is left.
    fn capture(&self, id: u64, snapshot: u64) -> Result<u64, Failure>;
    /// Removes a snapshot.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn forget(&self, snapshot: u64) -> Result<(), Failure>;
    /// Removes a machine and its disk, on or off; nothing happens if there is none.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&self, id: u64) -> Result<(), Failure>;
}

/// A machine that is only remembered.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Its name and what it was made with.
    pub spec: Spec,
    /// What its disk has.
    pub contents: Contents,
    /// Whether it is powered.
    pub on: bool,
    /// What its next boot goes into instead of its disk.
    pub rescue: Option<Rescue>,
    /// What it booted last, if it is on.
    pub booted: Option<Booted>,
    /// How often it has booted.
    pub boots: usize,
}

/// What a machine has booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Booted {
    /// Its own disk.
    Disk,
    /// The rescue system.
    Rescue(Rescue),
}

/// Machines that are only remembered: every system in them does at once what it is asked.
#[derive(Debug, Default)]
pub struct Remembered {
    machines: Mutex<BTreeMap<u64, Memory>>,
    snapshots: Mutex<BTreeMap<u64, Contents>>,
}

impl Remembered {
    fn machines(&self) -> MutexGuard<'_, BTreeMap<u64, Memory>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine as it is.
    #[must_use]
    pub fn machine(&self, id: u64) -> Option<Memory> {
        self.machines().get(&id).cloned()
    }

    /// Numbers of all machines.
    #[must_use]
    pub fn all(&self) -> Vec<u64> {
        self.machines().keys().copied().collect()
    }

    fn change<T>(&self, id: u64, change: impl FnOnce(&mut Memory) -> T) -> Result<T, Failure> {
        self.machines().get_mut(&id).map(change).ok_or_else(|| format!("there is no machine {id}"))
    }
}

impl Memory {
    fn boot(&mut self) {
        self.booted = Some(self.rescue.take_if(|rescue| !rescue.ignored).map_or(Booted::Disk, Booted::Rescue));
        self.boots += 1;
        self.on = true;
    }

    fn cut(&mut self) {
        self.on = false;
        self.booted = None;
    }
}

impl Machines for Remembered {
    fn images(&self) -> Vec<SystemImage> {
        ["debian-12", "debian-13"].map(|name| SystemImage { name: name.to_owned(), disk_size: 5 }).to_vec()
    }

    fn create(&self, spec: &Spec) -> Result<(), Failure> {
        let (spec, contents) = (spec.clone(), spec.contents.clone());
        let memory = Memory { contents, on: false, rescue: None, booted: None, boots: 0, spec };
        self.machines().insert(memory.spec.id, memory);
        Ok(())
    }

    fn write(&self, id: u64, contents: &Contents) -> Result<(), Failure> {
        self.change(id, |machine| machine.contents = contents.clone())
    }

    fn power_on(&self, id: u64) -> Result<(), Failure> {
        self.change(id, |machine| {
            if !machine.on {
                machine.boot();
            }
        })
    }

    fn power_off(&self, id: u64) -> Result<(), Failure> {
        self.change(id, Memory::cut)
    }

    fn press_power_button(&self, id: u64) -> Result<(), Failure> {
        self.change(id, Memory::cut)
    }

    fn reboot(&self, id: u64) -> Result<(), Failure> {
        self.change(id, |machine| {
            if machine.on {
                machine.boot();
            }
        })
    }

    fn set_rescue(&self, id: u64, rescue: Option<Rescue>) -> Result<(), Failure> {
        self.change(id, |machine| machine.rescue = rescue)
    }

    fn look(&self, id: u64) -> Option<Seen> {
        self.machines().get(&id).map(|machine| Seen { on: machine.on, rescue: machine.rescue.is_some() })
    }

    fn capture(&self, id: u64, snapshot: u64) -> Result<u64, Failure> {
        let contents = self.change(id, |machine| machine.contents.clone())?;
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).insert(snapshot, contents);
        Ok(1_200_000_000)
    }

    fn forget(&self, snapshot: u64) -> Result<(), Failure> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).remove(&snapshot);
        Ok(())
    }

    fn remove(&self, id: u64) -> Result<(), Failure> {
        self.machines().remove(&id);
        Ok(())
    }
}
