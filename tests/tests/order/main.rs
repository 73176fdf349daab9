//! The order in which the host does an attempt, with a driver whose faults are planted: the real operations, a real store and a
//! real packed image, and no machine.

mod adopting;
mod attempts;
mod host;
mod rebuild;
mod refusals;
mod trust;
