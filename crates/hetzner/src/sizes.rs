//! From what a machine needs to the server type that has it: pure. Must not ask the provider.

use std::{cmp::Reverse, fmt};

use cloud_machine_protocol::ByteSize;

use crate::{ServerType, images::shown};

/// Types that an error lists.
const NEAREST: usize = 3;

/// What a machine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Memory.
    pub ram: ByteSize,
    /// Processors.
    pub cpus: u32,
    /// The system disk.
    pub disk: ByteSize,
}

/// The server type for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The type.
    pub server_type: ServerType,
    /// What the machine gets more of than it needs.
    pub rounded: Vec<Rounded>,
}

/// Something that the machine gets more of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// `ram`, `cpus` or `disk`.
    pub what: &'static str,
    /// What it needs.
    pub wanted: String,
    /// What it gets.
    pub given: String,
}

impl fmt::Display for Rounded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} becomes {}", self.what, self.wanted, self.given)
    }
}

/// Why there is no type for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Nothing at all can be had there.
    #[error("no server type can be had in {location}; there are some in {}", listed(others))]
    NothingThere {
        /// The place.
        location: String,
        /// Other places.
        others: Vec<String>,
    },
    /// No type has enough.
    #[error(
        "no server type in {location} has {wanted}; the nearest are {}: ask for less, or take another location",
        listed(nearest)
    )]
    NotEnough {
        /// The place.
        location: String,
        /// What is needed.
        wanted: String,
        /// Types, and what they have too little of.
        nearest: Vec<String>,
    },
}

/// The cheapest x86 type that can be had in the place and has enough of all three; of two at one price the first by name.
///
/// # Errors
/// [`SizeError`] with what there is.
pub fn choose_type(types: &[ServerType], location: &str, wanted: Wanted) -> Result<Choice, SizeError> {
    let mut offered: Vec<&ServerType> = types.iter().filter(|own| own.is_offered_in(Some(location))).collect();
    if offered.is_empty() {
        let all = types.iter().filter(|own| own.is_offered_in(None)).flat_map(|own| &own.offers);
        let mut others: Vec<String> = all.map(|offer| shown(&offer.location)).collect();
        others.sort();
        others.dedup();
        return Err(SizeError::NothingThere { location: shown(location), others });
    }
    let price = |own: &ServerType| {
        let offer = own.offers.iter().find(|offer| offer.location == location);
        // What has no price is not the cheapest.
        offer.and_then(|offer| offer.price).unwrap_or(u64::MAX)
    };
    offered.sort_by(|one, other| (price(one), &one.name).cmp(&(price(other), &other.name)));
    if let Some(chosen) = offered.iter().find(|own| lacks(own, wanted).is_empty()) {
        return Ok(Choice { server_type: (*chosen).clone(), rounded: rounded(chosen, wanted) });
    }
    // Of those that lack the fewest, those that have the most of it.
    let most = |own: &ServerType| {
        let of = |is_less: bool, has: u64| if is_less { Reverse(has) } else { Reverse(0) };
        (
            lacks(own, wanted).len(),
            of(own.ram < wanted.ram, own.ram.bytes()),
            of(own.cpus < wanted.cpus, own.cpus.into()),
            of(own.disk < wanted.disk, own.disk.bytes()),
        )
    };
    offered.sort_by_key(|own| most(own));
    let nearest = offered.iter().take(NEAREST).map(|own| {
        let ServerType { name, cpus, ram, disk, .. } = own;
        let lacks = lacks(own, wanted).join(" and ");
        format!("{} (ram {ram}, cpus {cpus}, disk {disk}: too little {lacks})", shown(name))
    });
    let Wanted { ram, cpus, disk } = wanted;
    let wanted = match disk.bytes() {
        0 => format!("ram {ram} and cpus {cpus}"),
        _ => format!("ram {ram}, cpus {cpus} and disk {disk}"),
    };
    Err(SizeError::NotEnough { location: shown(location), wanted, nearest: nearest.collect() })
}

fn lacks(own: &ServerType, wanted: Wanted) -> Vec<&'static str> {
    let each = [("ram", own.ram < wanted.ram), ("cpus", own.cpus < wanted.cpus), ("disk", own.disk < wanted.disk)];
    each.into_iter().filter_map(|(what, is_less)| is_less.then_some(what)).collect()
}

fn rounded(own: &ServerType, wanted: Wanted) -> Vec<Rounded> {
    let each = [
        ("ram", own.ram != wanted.ram, wanted.ram.to_string(), own.ram.to_string()),
        ("cpus", own.cpus != wanted.cpus, wanted.cpus.to_string(), own.cpus.to_string()),
        ("disk", own.disk != wanted.disk, wanted.disk.to_string(), own.disk.to_string()),
    ];
    let rounded = each.into_iter().filter(|(_, differs, ..)| *differs);
    rounded.map(|(what, _, wanted, given)| Rounded { what, wanted, given }).collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no other place".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offer;

    fn own(name: &str, (cpus, gib, gb): (u32, u64, u64), price: Option<u64>) -> ServerType {
        ServerType {
            name: name.to_owned(),
            architecture: "x86".to_owned(),
            cpus,
            ram: ByteSize(gib << 30),
            disk: ByteSize(gb * 1_000_000_000),
            offers: vec![Offer { location: "fsn1".to_owned(), price }],
        }
    }

    fn types() -> Vec<ServerType> {
        let arm = ServerType { architecture: "arm".to_owned(), ..own("cax11", (2, 4, 40), Some(1)) };
        let gone = ServerType { offers: Vec::new(), ..own("cx22", (2, 4, 40), Some(2)) };
        let mut elsewhere = own("cx24", (2, 4, 40), Some(3));
        elsewhere.offers = vec![Offer { location: "hel1".to_owned(), price: Some(3) }];
        vec![
            own("ccx13", (2, 8, 80), Some(200)),
            own("cx43", (8, 16, 160), Some(152)),
            own("cx33", (4, 8, 80), Some(88)),
            own("cx23b", (2, 4, 40), Some(56)),
            own("cx23", (2, 4, 40), Some(56)),
            own("cx0", (64, 512, 4000), None),
            arm,
            gone,
            elsewhere,
        ]
    }

    fn choose(ram: &str, cpus: u32, disk: &str) -> Result<String, String> {
        let wanted = Wanted { ram: ram.parse().unwrap(), cpus, disk: disk.parse().unwrap() };
        choose_type(&types()[..], "fsn1", wanted)
            .map(|choice| {
                let rounded: Vec<String> = choice.rounded.iter().map(Rounded::to_string).collect();
                format!("{}: {}", choice.server_type.name, rounded.join(", "))
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_cheapest_that_has_all_three_is_chosen_and_what_was_rounded_is_told() {
        for (ram, cpus, disk, expected) in [
            ("4GiB", 2, "40GB", "cx23: "),
            ("3GiB", 1, "20GiB", "cx23: ram 3GiB becomes 4GiB, cpus 1 becomes 2, disk 20GiB becomes 40GB"),
            ("4097MiB", 2, "40GB", "cx33: ram 4097MiB becomes 8GiB, cpus 2 becomes 4, disk 40GB becomes 80GB"),
            ("4GiB", 5, "40GB", "cx43: ram 4GiB becomes 16GiB, cpus 5 becomes 8, disk 40GB becomes 160GB"),
            ("4GiB", 2, "40GiB", "cx33: ram 4GiB becomes 8GiB, cpus 2 becomes 4, disk 40GiB becomes 80GB"),
            ("512GiB", 64, "4TB", "cx0: "),
        ] {
            assert_eq!(choose(ram, cpus, disk).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn where_none_has_enough_the_nearest_are_told() {
        assert_eq!(
            choose("1TiB", 8, "160GB").unwrap_err(),
            "no server type in fsn1 has ram 1TiB, cpus 8 and disk 160GB; the nearest are \
             cx0 (ram 512GiB, cpus 64, disk 4TB: too little ram), cx43 (ram 16GiB, cpus 8, disk 160GB: too little ram), \
             cx33 (ram 8GiB, cpus 4, disk 80GB: too little ram and cpus and disk): ask for less, or take another location"
        );
        let wanted = Wanted { ram: ByteSize(1), cpus: 1, disk: ByteSize(1) };
        assert_eq!(
            choose_type(&types(), "ash", wanted).unwrap_err().to_string(),
            "no server type can be had in ash; there are some in fsn1, hel1"
        );
        assert_eq!(
            choose_type(&[], "x\u{1b}[2J", wanted).unwrap_err().to_string(),
            "no server type can be had in x\\u{1b}[2J; there are some in no other place"
        );
    }
}
