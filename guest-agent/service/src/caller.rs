//! Who calls: the second of two locks. The first is the policy of the bus, which an administrator may widen; this one asks the bus
//! for the user of each caller, and must not trust what a message says of itself.

use zbus::{Connection, fdo, message::Header};

/// Lets only root pass.
///
/// # Errors
/// `org.freedesktop.DBus.Error.AccessDenied`, also when the bus does not know the caller any more.
pub(crate) async fn is_root(connection: &Connection, header: Option<&Header<'_>>) -> fdo::Result<()> {
    let denied = |reason: String| fdo::Error::AccessDenied(format!("only root may call this service: {reason}"));
    // The bus sets the sender, never the caller.
    let Some(sender) = header.and_then(Header::sender) else {
        return Err(denied("nobody is named as the caller".to_owned()));
    };
    let (bus, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
    let user = connection.call_method(Some(bus), path, Some(bus), "GetConnectionUnixUser", &sender.as_str()).await;
    match user.and_then(|answer| answer.body().deserialize::<u32>()) {
        Ok(0) => Ok(()),
        Ok(user) => Err(denied(format!("the caller is user {user}"))),
        Err(_) => Err(denied("the bus does not say who the caller is".to_owned())),
    }
}
