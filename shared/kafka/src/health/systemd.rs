//! systemd's notification protocol (sd_notify(3)): readiness once, then watchdog keep-alives while healthy.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use config::Systemd;
use shared::{Context, Result};

use super::Health;

/// Limits of the interval between keep-alives.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// Notifies systemd of readiness, then sends watchdog keep-alives in the background. Does nothing unless systemd
/// started this process with `Type=notify`.
///
/// Keep-alives stop while the process is unhealthy, so systemd restarts it after `WatchdogSec=`.
///
/// # Errors
/// Permanent, when systemd's socket is unreachable.
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
    // A full socket must not block the thread that polls Kafka.
    sender.set_nonblocking(true).permanent(&name)?;
    sender.send_to_addr(b"READY=1\nSTATUS=listening", &address).permanent(&name)?;
    // A third of the timeout: two keep-alives may be lost.
    let Some(timeout) = systemd.watchdog else { return Ok(()) };
    let interval = (timeout / 3).clamp(MIN_INTERVAL, MAX_INTERVAL);
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
    async fn sends_readiness_then_keep_alives_only_while_healthy() {
        let folder = tempfile::tempdir().expect("a folder");
        for (heartbeat, expected) in [(Duration::from_secs(3600), "WATCHDOG=1"), (Duration::ZERO, "STATUS=unhealthy")] {
            let path = folder.path().join(format!("notify-{}", heartbeat.as_secs()));
            let socket = UnixDatagram::bind(&path).expect("a socket");
            let systemd = Systemd { socket: path.into(), watchdog: Some(Duration::from_millis(3)) };
            notify(health(heartbeat), &systemd).expect("a notification");
            assert!(received(&socket).starts_with("READY=1"), "readiness comes first");
            for _ in 0..3 {
                let state = received(&socket);
                assert!(state.starts_with(expected), "expected {expected}, found {state}");
            }
        }
    }

    #[tokio::test]
    async fn sends_to_an_abstract_socket_and_names_a_missing_one() {
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
