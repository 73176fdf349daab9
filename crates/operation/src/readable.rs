//! Numbers for people. Must not round up what is there, or down what is missing, by more than a MiB.

/// Bytes, in MiB where there are many.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    if bytes < 10 << 20 { format!("{bytes} bytes") } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_are_exact() {
        assert_eq!(bytes((10 << 20) - 1), "10485759 bytes");
        assert_eq!(bytes(10 << 20), "10 MiB");
    }
}
