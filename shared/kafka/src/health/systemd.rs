//! systemd's notification protocol (sd_notify(3)): ready once, then the watchdog as long as the process is healthy.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use config::Systemd;
use shared::{Context, Result};

use super::Health;

/// How often the watchdog is fed, at least and at most.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10);

/// Reports readiness to systemd, and from now on health to its watchdog, in the background. Does nothing when systemd
/// did not start this process with `Type=notify`.
///
/// The watchdog (`WatchdogSec=`) is fed only while nothing is wrong, so systemd restarts a process that has been
/// unhealthy, or has hung, for that long.
///
/// # Errors
/// Permanent, when the socket that systemd names cannot be reached.
pub fn notify_systemd(health: Arc<Health>) -> Result<()> {
    Systemd::from_env().map_or(Ok(()), |systemd| notify(health, &systemd))
}

fn notify(health: Arc<Health>, systemd: &Systemd) -> Result<()> {
    let socket = &systemd.socket;
    let name = format!("NOTIFY_SOCKET {socket:?}");
    let address = match socket.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name).permanent(&name)?,
        _ => SocketAddr::from_pathname(socket).permanent(&name)?,
    };
    let sender = UnixDatagram::unbound().permanent(&name)?;
    // A full socket must not stop the thread that polls Kafka.
    sender.set_nonblocking(true).permanent(&name)?;
    sender.send_to_addr(b"READY=1\nSTATUS=listening", &address).permanent(&name)?;
    // Two may be lost before the time-out, and the status stays fresh.
    let Some(interval) = systemd.watchdog.map(|timeout| (timeout / 3).clamp(SHORTEST, LONGEST)) else { return Ok(()) };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn health(heartbeat: Duration) -> Arc<Health> {
        Arc::new(Health::new(&config::HealthSettings { address: None, heartbeat, mock: None }, &[]))
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
            let systemd = Systemd { socket: path.into(), watchdog: Some(Duration::from_millis(3)) };
            notify(health(heartbeat), &systemd).expect("a notification");
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
        let systemd = |socket: &str| Systemd { socket: socket.into(), watchdog: None };
        notify(health(Duration::from_secs(1)), &systemd(&format!("@{name}"))).expect("a notification");
        assert!(received(&socket).starts_with("READY=1"));
        let error = notify(health(Duration::from_secs(1)), &systemd("/absent/notify")).expect_err("no socket");
        assert!(error.to_string().contains("/absent/notify"), "{error}");
    }
}
