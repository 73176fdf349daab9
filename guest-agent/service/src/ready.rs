//! Tells systemd that the service is ready, as sd_notify(3) describes. Must not tell anything else.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use crate::error::ServiceError;

/// Name of the variable with the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells it, where there is somebody to tell.
///
/// # Errors
/// [`ServiceError::Notify`] when there is, and cannot be told.
pub(crate) fn ready() -> Result<(), ServiceError> {
    let Some(socket) = env::var_os(SOCKET) else { return Ok(()) };
    let told = address(&socket)
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address))
        .and_then(|sent| if sent == 7 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) });
    told.map_err(|source| ServiceError::Notify { socket: socket.display().to_string(), source })
}

/// A path, or with `@` in front a name that is no file.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor a name that begins with @")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_paths_or_names() {
        assert_eq!(address(OsStr::new("/a")).unwrap().as_pathname().unwrap(), "/a");
        assert_eq!(address(OsStr::new("@a")).unwrap().as_abstract_name().unwrap(), b"a");
        for wrong in ["", "a", "vsock:2:1"] {
            assert!(address(OsStr::new(wrong)).is_err(), "{wrong}");
        }
    }
}
