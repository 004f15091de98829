//! What systemd tells a unit of `Type=notify` (sd_notify(3)).

use std::env;
use std::ffi::OsString;
use std::time::Duration;

/// Where a process reports to systemd, and how often it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    /// NOTIFY_SOCKET: a path, or `@` and an abstract name.
    pub socket: OsString,
    /// WATCHDOG_USEC: systemd restarts a process that stays silent for so long.
    pub watchdog: Option<Duration>,
}

impl Systemd {
    /// Reads the environment; none when systemd waits for no notification.
    pub fn from_env() -> Option<Self> {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        Some(Systemd { socket, watchdog: watchdog(env::var("WATCHDOG_USEC").ok().as_deref()) })
    }
}

fn watchdog(microseconds: Option<&str>) -> Option<Duration> {
    microseconds?.parse().ok().filter(|microseconds| *microseconds > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_time_out_is_in_microseconds_and_may_be_absent() {
        assert_eq!(watchdog(Some("900000000")), Some(Duration::from_secs(900)));
        for none in [None, Some("0"), Some("soon")] {
            assert_eq!(watchdog(none), None);
        }
    }
}
