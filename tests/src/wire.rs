//! A TCP proxy that can hold bytes back, like a network that drops packets without closing connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A port that forwards to a server; stops with its runtime.
pub struct Wire {
    listener: Option<TcpListener>,
    address: SocketAddr,
    cut: Arc<watch::Sender<bool>>,
}

impl Wire {
    /// Binds a port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn new() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        Wire { listener: Some(listener), address, cut: Arc::new(watch::Sender::new(false)) }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Starts forwarding to a server.
    ///
    /// # Panics
    /// When called twice.
    pub fn connect(&mut self, server: SocketAddr) {
        let listener = self.listener.take().expect("a port that is not connected");
        let cut = Arc::clone(&self.cut);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let cut = Arc::clone(&cut);
                tokio::spawn(async move {
                    // Without a server, the connection is closed.
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near_in, far_out, cut.subscribe()), pass(far_in, near_out, cut.subscribe()));
                });
            }
        });
    }

    /// Holds all bytes back, or forwards them again.
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut cut: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if cut.wait_for(|cut| !*cut).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
