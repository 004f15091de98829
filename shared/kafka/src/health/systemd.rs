//! systemd's notification protocol (sd_notify(3)): ready once, then the watchdog as long as the process is healthy.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use shared::{Error, Result};

use super::Health;

/// Reports readiness to systemd, and from now on health to its watchdog, in the background. Does nothing when systemd
/// did not start this process with `Type=notify` (`NOTIFY_SOCKET`).
///
/// The watchdog (`WatchdogSec=`) is fed only while nothing is wrong, so systemd restarts a process that has been
/// unhealthy, or has hung, for that long.
///
/// # Errors
/// Permanent, when the socket that systemd names cannot be reached.
pub fn notify_systemd(health: Arc<Health>) -> Result<()> {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return Ok(()) };
    notify(health, &socket, watchdog_interval(env::var("WATCHDOG_USEC").ok().as_deref()))
}

fn notify(health: Arc<Health>, socket: &OsStr, interval: Option<Duration>) -> Result<()> {
    let failed = |error: std::io::Error| Error::permanent(format!("NOTIFY_SOCKET {socket:?}: {error}"));
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).map_err(failed)?,
        _ => SocketAddr::from_pathname(OsString::from(socket)).map_err(failed)?,
    };
    let sender = UnixDatagram::unbound().map_err(failed)?;
    // A full socket must not stop the thread that polls Kafka.
    sender.set_nonblocking(true).map_err(failed)?;
    sender.send_to_addr(b"READY=1\nSTATUS=listening", &address).map_err(failed)?;
    let Some(interval) = interval else { return Ok(()) };
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            let troubles = health.troubles();
            let state = match troubles.as_slice() {
                [] => "WATCHDOG=1\nSTATUS=listening".to_owned(),
                troubles => format!("STATUS=unhealthy: {}", troubles.join("; ")),
            };
            // Best effort: the next tick sends it again.
            let _ = sender.send_to_addr(state.as_bytes(), &address);
        }
    });
    Ok(())
}

/// A third of the time-out that systemd sets [microseconds], at most 10 s: two may be lost, and the status stays fresh.
fn watchdog_interval(timeout: Option<&str>) -> Option<Duration> {
    let timeout: u64 = timeout?.parse().ok().filter(|timeout| *timeout > 0)?;
    Some(Duration::from_micros((timeout / 3).max(1)).min(Duration::from_secs(10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(heartbeat: Duration) -> Arc<Health> {
        Arc::new(Health::new(&config::Health { address: None, heartbeat, mock: None }, &[]))
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn is_ready_and_feeds_the_watchdog_only_while_it_is_healthy() {
        let folder = tempfile::tempdir().expect("a folder");
        for (heartbeat, expected) in [(Duration::from_secs(3600), "WATCHDOG=1"), (Duration::ZERO, "STATUS=unhealthy")] {
            let path = folder.path().join(format!("notify-{}", heartbeat.as_secs()));
            let socket = UnixDatagram::bind(&path).expect("a socket");
            notify(health(heartbeat), path.as_os_str(), Some(Duration::from_millis(1))).expect("a notification");
            assert!(received(&socket).starts_with("READY=1"), "the first message is the readiness");
            for _ in 0..3 {
                let state = received(&socket);
                assert!(state.starts_with(expected), "expected {expected}, found {state}");
            }
        }
    }

    #[tokio::test]
    async fn abstract_sockets_are_reached_and_absent_ones_are_named() {
        let name = format!("gwtm-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        notify(health(Duration::from_secs(1)), OsStr::new(&format!("@{name}")), None).expect("a notification");
        assert!(received(&socket).starts_with("READY=1"));
        let error = notify(health(Duration::from_secs(1)), OsStr::new("/absent/notify"), None).expect_err("no socket");
        assert!(error.to_string().contains("/absent/notify"), "{error}");
    }

    #[test]
    fn watchdog_interval_is_a_third_of_the_time_out_and_at_most_ten_seconds() {
        assert_eq!(watchdog_interval(Some("6000000")), Some(Duration::from_secs(2)));
        assert_eq!(watchdog_interval(Some("900000000")), Some(Duration::from_secs(10)));
        for none in [None, Some("0"), Some("soon")] {
            assert_eq!(watchdog_interval(none), None);
        }
    }
}
