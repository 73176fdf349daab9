//! What comes next in the life of a request that a recovery partition has: state in, action out. Must not do it.

use cloud_machine_recovery::{Starts, State};

/// How often a request may fail. A power cut is no failure.
pub(crate) const MAX_FAILURES: u32 = 3;
/// How often the partition is started for one request, whatever ended it: also a program that dies counts as nothing else.
pub(crate) const MAX_ATTEMPTS: u32 = 30;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) state: State,
    /// Starts of the partition for it.
    pub(crate) attempts: u32,
    /// Those of them that failed.
    pub(crate) failures: u32,
}

/// What a start of the machine's own system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtBoot {
    /// Nothing: the boot goes on.
    Boot,
    /// Keeps the boot head, and lets the next start be one of the partition; for a request that is not for here, gives it up.
    Arm,
    /// Lets the next start be one of the partition, unless the boot head says that this one should have been.
    StartRecovery,
    /// Stops: what runs is neither the one system nor the other.
    Stop,
    /// This is the new system: finishes what a cut left.
    Finish,
}

/// What a start of the partition does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtRecovery {
    /// Carries the request out.
    CarryOut,
    /// Writes the boot head, and uses the token up: all else is written.
    Finish,
    /// Nothing: there were too many.
    TooMany,
    /// Nothing: the token is used, or the machine's own system has not begun with it.
    Used,
}

/// What follows a start of the partition that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// The system of before, of which nothing was changed, starts again.
    GiveBack,
    /// The failure is counted, and the next start tries again.
    CountFailure,
    /// The next start tries again.
    Again,
    /// The request is given up, and the machine is powered off: nothing on it can be started.
    GiveUp,
    /// The machine is powered off: the partition is not what should have started.
    PowerOff,
}

impl AfterFailure {
    /// Whether the machine is reset, and not powered off.
    pub(crate) const fn resets(self) -> bool {
        matches!(self, Self::GiveBack | Self::CountFailure | Self::Again)
    }
}

/// What a start of the machine's own system does.
pub(crate) const fn at_boot(state: State) -> AtBoot {
    match state {
        State::Staged => AtBoot::Arm,
        State::Armed => AtBoot::StartRecovery,
        State::Begun => AtBoot::Stop,
        State::Reported => AtBoot::Finish,
        State::Done | State::Failed => AtBoot::Boot,
    }
}

/// What a start of the partition does.
pub(crate) const fn at_recovery(progress: Progress) -> AtRecovery {
    match progress.state {
        State::Armed | State::Begun => {
            if progress.failures >= MAX_FAILURES || progress.attempts >= MAX_ATTEMPTS {
                AtRecovery::TooMany
            } else {
                AtRecovery::CarryOut
            }
        }
        State::Reported => AtRecovery::Finish,
        State::Staged | State::Done | State::Failed => AtRecovery::Used,
    }
}

/// What follows a failure in `state`; `last` when there were too many.
pub(crate) const fn after_failure(state: State, last: bool) -> AfterFailure {
    match (state, last) {
        (State::Armed, _) => AfterFailure::GiveBack,
        (State::Begun, true) => AfterFailure::GiveUp,
        (State::Begun, false) => AfterFailure::CountFailure,
        (State::Reported, _) => AfterFailure::Again,
        (State::Staged | State::Done | State::Failed, _) => AfterFailure::PowerOff,
    }
}

/// Why the machine's own system was started, although its boot head is that of the recovery partition.
pub(crate) fn not_started(starts: Option<Starts>) -> String {
    match starts {
        Some(Starts { count, .. }) if count > 0 => {
            format!("the recovery partition was started {count} times, and its agent did not come up")
        }
        _ => "the firmware starts this system, although the boot head is the recovery partition's".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_one_action() {
        use State::{Armed, Begun, Done, Failed, Reported, Staged};
        for (state, boot, recovery, failure, last) in [
            (Staged, AtBoot::Arm, AtRecovery::Used, AfterFailure::PowerOff, AfterFailure::PowerOff),
            (Armed, AtBoot::StartRecovery, AtRecovery::CarryOut, AfterFailure::GiveBack, AfterFailure::GiveBack),
            (Begun, AtBoot::Stop, AtRecovery::CarryOut, AfterFailure::CountFailure, AfterFailure::GiveUp),
            (Reported, AtBoot::Finish, AtRecovery::Finish, AfterFailure::Again, AfterFailure::Again),
            (Done, AtBoot::Boot, AtRecovery::Used, AfterFailure::PowerOff, AfterFailure::PowerOff),
            (Failed, AtBoot::Boot, AtRecovery::Used, AfterFailure::PowerOff, AfterFailure::PowerOff),
        ] {
            let fresh = Progress { state, attempts: 0, failures: 0 };
            assert_eq!((at_boot(state), at_recovery(fresh)), (boot, recovery), "{state:?}");
            assert_eq!((after_failure(state, false), after_failure(state, true)), (failure, last), "{state:?}");
            // What is half rewritten, or is to begin, is not tried for ever; what is written is.
            for (attempts, failures) in [(MAX_ATTEMPTS - 1, MAX_FAILURES - 1), (MAX_ATTEMPTS, 0), (0, MAX_FAILURES)] {
                let tried = Progress { state, attempts, failures };
                let is_over = attempts == MAX_ATTEMPTS || failures == MAX_FAILURES;
                let expected = if is_over && recovery == AtRecovery::CarryOut { AtRecovery::TooMany } else { recovery };
                assert_eq!(at_recovery(tried), expected, "{tried:?}");
            }
        }
    }

    #[test]
    fn a_machine_is_powered_off_only_where_nothing_on_it_can_be_started() {
        use AfterFailure::{Again, CountFailure, GiveBack, GiveUp, PowerOff};
        let resets = [GiveBack, CountFailure, Again, GiveUp, PowerOff].map(AfterFailure::resets);
        assert_eq!(resets, [true, true, true, false, false]);
    }

    #[test]
    fn a_system_that_was_started_in_place_of_the_partition_says_why() {
        let count = |count| Some(Starts { count, begun: false });
        assert!(not_started(count(5)).contains("was started 5 times, and its agent did not come up"));
        for starts in [None, count(0)] {
            assert!(not_started(starts).contains("the firmware starts this system"), "{starts:?}");
        }
    }
}
