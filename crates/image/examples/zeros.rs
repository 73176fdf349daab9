//! Hashes the first 4 TiB of zeros and writes the list of their values, `src/zeros.bin`, to standard output. Shares no
//! code with the library, takes minutes on many processors:
//! `cargo run --release -p cloud-machine-image --example zeros | cmp - crates/image/src/zeros.bin`

use std::{
    io::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use blake3::{Hasher, hazmat::HasherExt};

/// Bytes of a subtree with a value in the list.
const CELL: u64 = 4 << 30;
const CELLS: u64 = 1024;

fn value(cell: u64) -> [u8; 32] {
    let zeros = vec![0; 1 << 20];
    let mut hasher = Hasher::new();
    hasher.set_input_offset(cell * CELL);
    for _ in 0..CELL >> 20 {
        hasher.update(&zeros);
    }
    hasher.finalize_non_root()
}

fn main() -> io::Result<()> {
    let (next, list) = (AtomicU64::new(0), Mutex::new(vec![[0; 32]; CELLS as usize]));
    let work = || {
        loop {
            let cell = next.fetch_add(1, Ordering::Relaxed);
            if cell >= CELLS {
                return;
            }
            let value = value(cell);
            if let Some(place) = list.lock().unwrap_or_else(PoisonError::into_inner).get_mut(cell as usize) {
                *place = value;
            }
        }
    };
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    io::stdout().write_all(list.into_inner().unwrap_or_else(PoisonError::into_inner).as_flattened())
}
