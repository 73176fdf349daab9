//! Faults that a test injects: which request, how often, and what goes wrong with it.

use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with 429, although nothing was used up; the headers say to come back after this time.
    TooMany(Duration),
    /// Answered with this status of the server's own; nothing is done.
    Status(u16),
    /// Answered with this status of the server's own, although all is done.
    StatusAfterEffect(u16),
    /// Nothing is done and no answer ever comes.
    Silent,
    /// All is done and no answer ever comes.
    SilentAfterEffect,
    /// All is done, and the answer comes after this time.
    Late(Duration),
    /// All is done, and the connection ends before the answer.
    CutAfterEffect,
    /// The action that the request starts fails, and did nothing.
    ActionFails,
    /// The action that the request starts fails, although it has done all.
    ActionFailsAfterEffect,
    /// The action that the request starts takes this much longer: a slow reboot.
    ActionSlow(Duration),
    /// The action that the request starts never ends.
    ActionHangs,
    /// All is done and shown as ever, and the rescue system that was enabled is not what the next boots go into.
    RescueIgnored,
    /// All is done, and the rescue system that is booted then uses the disk of the server.
    RescueUsesDisk,
    /// The server that the request names is gone before it is looked at, with its disk.
    Vanishes,
}

/// A fault and the requests that it befalls.
#[derive(Clone, Debug)]
pub struct Injected {
    /// In capital letters; any if there is none.
    pub method: Option<&'static str>,
    /// End of the path, such as `/actions/reset`; any path has the end "".
    pub path_end: String,
    /// How many such requests are spared first.
    pub spared: usize,
    /// How many it befalls then.
    pub times: usize,
    /// What goes wrong.
    pub fault: Fault,
}

impl Injected {
    /// Befalls the next request of the method whose path ends so.
    #[must_use]
    pub fn once(method: &'static str, path_end: &str, fault: Fault) -> Self {
        Self { method: Some(method), path_end: path_end.to_owned(), spared: 0, times: 1, fault }
    }

    fn is_about(&self, method: &str, path: &str) -> bool {
        self.method.is_none_or(|own| own == method) && path.ends_with(&self.path_end)
    }
}

/// The fault that befalls a request, if one does; the first that is about it and not used up counts.
pub(super) fn befalls(injected: &mut [Injected], method: &str, path: &str) -> Option<Fault> {
    for one in injected.iter_mut().filter(|one| one.times > 0 && one.is_about(method, path)) {
        if one.spared > 0 {
            one.spared -= 1;
            continue;
        }
        one.times -= 1;
        return Some(one.fault);
    }
    None
}
