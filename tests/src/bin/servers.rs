//! Runs the shared test servers: `servers SOCKET`, see `tests::server`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let socket = std::env::args_os().nth(1).map(PathBuf::from);
    tests::server::serve(&socket.ok_or_else(|| std::io::Error::other("usage: servers SOCKET"))?)
}
