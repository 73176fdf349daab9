//! The recovery partition of the machine's disk as a place for a request, found anew at each call. Must not judge a request, and
//! must not have a rule of its own for which partition it is: `cloud-machine-stager` does both.

use std::io::{BufReader, Read};

use cloud_machine_protocol::{causes, escaped};
use cloud_machine_recovery::{RecoveryError, State};
use cloud_machine_stager::{Disks, StagerError};

use crate::staging::{Staging, StagingError};

impl Staging for Disks {
    fn stage(&self, stream: &mut dyn Read) -> Result<String, StagingError> {
        let staged = self.find(None)?.stage(&mut BufReader::new(stream))?;
        Ok(staged.token)
    }

    fn cancel(&self, token: &str) -> Result<(), StagingError> {
        Ok(self.find(None)?.cancel(token)?)
    }

    /// Without a recovery partition nothing waits.
    fn staged(&self) -> Result<Option<String>, StagingError> {
        let found = match self.find(None) {
            Err(StagerError::Absent) => return Ok(None),
            other => other?,
        };
        let staged = found.staged()?.filter(|staged| staged.state == State::Staged);
        Ok(staged.map(|staged| staged.token))
    }
}

impl From<StagerError> for StagingError {
    fn from(error: StagerError) -> Self {
        let text = escaped(&causes(&error));
        match error {
            StagerError::Absent => Self::NoRecovery(text),
            StagerError::Several { .. } | StagerError::Recovery(RecoveryError::Refused { .. }) => Self::Refused(text),
            _ => Self::Failed(text),
        }
    }
}

#[cfg(test)]
mod tests;
