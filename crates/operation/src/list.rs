//! All machines with what a list shows of each: what its record says, and whether it runs. Must ask of one machine only what cannot
//! be asked once for all of them.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use cloud_machine_driver::machine::{Delivery, MachineIdentifiers, MachineRef, Power, ProcessTable};
use cloud_machine_store::{MachineSummary, StoreError, SummaryRow};

use crate::{
    Operations,
    error::OperationError,
    life::{self, ProcessState, ProcessStatus},
};

/// Machines that are asked at the same time. Most of that time is waiting for their answer.
const ASKED_AT_ONCE: usize = 8;

/// A line of the list; a broken record is a row with its error.
#[derive(Debug)]
pub struct Listed {
    /// Name of the folder; a machine's name unless `machine` says otherwise.
    pub name: String,
    /// What the record says and what is known of the process, or why it could not be read.
    pub machine: Result<(Box<MachineSummary>, ProcessStatus), StoreError>,
}

impl Operations<'_> {
    /// All machines, sorted by name.
    ///
    /// # Errors
    /// When the folder itself cannot be listed; whatever concerns one machine is in its row.
    pub fn list(&self) -> Result<Vec<Listed>, OperationError> {
        // At the same time: the kernel takes its time to tell all locks. Whatever starts or ends meanwhile is asked for by itself.
        let (rows, tables) = thread::scope(|scope| {
            let tables = scope.spawn(|| self.process_tables());
            (self.store.summaries(), tables.join().unwrap_or_default())
        });
        let rows = rows?;
        let is_off: Vec<bool> = rows.iter().map(|row| is_off(&tables, row)).collect();
        let running = rows.iter().zip(&is_off).filter(|(_, is_off)| !**is_off);
        let mut answers = self.ask(&running.filter_map(|(row, _)| row.summary.as_deref().ok()).collect::<Vec<_>>());
        let listed = rows.into_iter().zip(is_off).map(|(row, is_off)| {
            let machine = row.summary.map(|machine| {
                let answer = if is_off { None } else { answers.remove(machine.name.as_str()) };
                // Without an answer only that is off which was seen to be.
                let process = if is_off { ProcessState::None } else { ProcessState::Unknown };
                (machine, answer.unwrap_or(ProcessStatus { process, process_reason: None }))
            });
            Listed { name: row.name, machine }
        });
        Ok(listed.collect())
    }

    /// What each driver saw of the host. One that saw nothing is asked for each of its machines.
    fn process_tables(&self) -> HashMap<&'static str, Box<dyn ProcessTable>> {
        self.drivers.all().filter_map(|driver| Some((driver.name(), driver.process_table()?))).collect()
    }

    /// What the drivers say of these machines, by name.
    fn ask(&self, machines: &[&MachineSummary]) -> HashMap<String, ProcessStatus> {
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(HashMap::with_capacity(machines.len())));
        let worker = || {
            while let Some(machine) = machines.get(next.fetch_add(1, Ordering::Relaxed)) {
                let status = self.status_of(machine);
                answers.lock().unwrap_or_else(PoisonError::into_inner).insert(machine.name.to_string(), status);
            }
        };
        thread::scope(|scope| {
            for _ in 0..machines.len().min(ASKED_AT_ONCE) {
                scope.spawn(worker);
            }
        });
        answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn status_of(&self, machine: &MachineSummary) -> ProcessStatus {
        self.power_of(machine).map(life::status).unwrap_or_else(|error| ProcessStatus {
            process: ProcessState::Unknown,
            process_reason: Some(error.line()),
        })
    }

    fn power_of(&self, machine: &MachineSummary) -> Result<Power, OperationError> {
        let (driver, name) = (self.driver(&machine.driver)?, &machine.name);
        let reference = match driver.delivery() {
            Delivery::Devices => MachineRef {
                name: name.clone(),
                uuid: Some(machine.uuid.clone()),
                state: machine.driver_state.clone(),
                remote: None,
                folder: self.store.machine(name),
            },
            // Where it is, only its whole record says.
            Delivery::Connection => life::reference(self.store, &self.store.read(name)?),
        };
        Ok(driver.power(&reference, Duration::ZERO))
    }
}

/// Whether it was seen that nothing of a machine runs.
fn is_off(tables: &HashMap<&str, Box<dyn ProcessTable>>, row: &SummaryRow) -> bool {
    let Ok(machine) = &row.summary else { return false };
    let (Some(table), Some(disks)) = (tables.get(machine.driver.as_str()), &machine.disks) else { return false };
    table.is_off(&MachineIdentifiers { uuid: &machine.uuid, state: machine.driver_state.as_ref(), disks })
}
