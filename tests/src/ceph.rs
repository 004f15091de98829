//! Ceph's S3 gateway from Debian, with one monitor and one disk in memory. Its create-if-absent is atomic.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::backend::S3Server;
use crate::server::{Process, TestServer, free_port, local, run};

/// A running cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ceph {
    address: SocketAddr,
}

impl TestServer for Ceph {
    const NAME: &'static str = "ceph";

    fn start(own: &Path) -> (Ceph, Vec<Process>) {
        let [monitor, gateway] = [free_port(), free_port()];
        let id = uuid();
        for name in ["mon", "osd", "rgw"] {
            std::fs::create_dir(own.join(name)).expect("a folder");
        }
        std::fs::write(own.join("ceph.conf"), settings(own, &id, monitor, gateway)).expect("settings");
        let ceph = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.current_dir(own).args(["-c", "ceph.conf"]).args(arguments);
            command
        };
        let key = |name: &str, caps: &[&str]| {
            let mut command = Command::new("ceph-authtool");
            command.current_dir(own).args(["keyring", "--gen-key", "-n", name]).args(caps);
            command
        };
        std::fs::write(own.join("keyring"), "").expect("a keyring");
        run(key("mon.", &["--cap", "mon", "allow *"]));
        run(key("client.admin", &["--cap", "mon", "allow *", "--cap", "osd", "allow *"]));
        run(key("osd.0", &["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]));
        let mut command = Command::new("monmaptool");
        let address = format!("[v2:127.0.0.1:{monitor}]");
        command.current_dir(own).args(["--create", "--clobber", "--fsid", &id, "--addv", "a", &address, "monmap"]);
        run(command);

        run(ceph("ceph-mon", &["--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring"]));
        let mut mon = Process::start("mon", own, ceph("ceph-mon", &["-f", "-i", "a"]));
        mon.listens(monitor);
        let disk = uuid();
        run(ceph("ceph", &["--connect-timeout", "60", "osd", "new", &disk, "0"]));
        run(ceph("ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", &disk]));
        let osd = Process::start("osd", own, ceph("ceph-osd", &["-f", "-i", "0"]));
        let place = ["osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost"];
        run(ceph("ceph", &[&["--connect-timeout", "60"][..], &place].concat()));
        let mut rgw = Process::start("rgw", own, ceph("radosgw", &["-f", "-n", "client.admin"]));
        let user = ["--uid=alerts", "--display-name=alerts", "--access-key=ceph", "--secret-key=cephsecret"];
        run(ceph("radosgw-admin", &[&["-n", "client.admin", "user", "create"], &user[..]].concat()));
        rgw.listens(gateway);
        (Ceph { address: local(gateway) }, vec![rgw, osd, mon])
    }
}

impl S3Server for Ceph {
    const KEYS: (&str, &str) = ("ceph", "cephsecret");
    const CREATES_ATOMICALLY: bool = true;
    const LISTED: usize = 10_010;

    fn address(&self) -> SocketAddr {
        self.address
    }
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a UUID").trim().to_owned()
}

/// One replica, in memory, and a monitor that decides without delay.
fn settings(own: &Path, id: &str, monitor: u16, gateway: u16) -> String {
    let own = own.display();
    format!(
        "[global]
fsid = {id}
mon host = [v2:127.0.0.1:{monitor}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
paxos propose interval = 0.02
paxos min wait = 0.01
osd objectstore = memstore
memstore device bytes = 8589934592
run dir = {own}
admin socket =
pid file =
log file = {own}/$name.log
keyring = {own}/keyring
mon data = {own}/mon
osd data = {own}/osd
[client]
rgw data = {own}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw thread pool size = 64
"
    )
}
