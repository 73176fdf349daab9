//! The drivers of a program, by name. Must not know any.

use super::Driver;

/// The drivers of this program, by name: the one table.
#[derive(Debug, Default)]
pub struct Drivers(Vec<Box<dyn Driver>>);

impl Drivers {
    /// Adds a driver; of two with the same name the first counts.
    #[must_use]
    pub fn with(mut self, driver: impl Driver + 'static) -> Self {
        self.0.push(Box::new(driver));
        self
    }

    /// The driver called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn Driver> {
        self.0.iter().map(Box::as_ref).find(|driver| driver.name() == name)
    }

    /// All of them, in the order in which they were added.
    pub fn all(&self) -> impl Iterator<Item = &dyn Driver> {
        self.0.iter().map(Box::as_ref)
    }

    /// All names, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|driver| driver.name())
    }
}
