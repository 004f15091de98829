//! A proxy that injects faults into single HTTP requests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Respond with this status without forwarding.
    Answer(u16),
    /// Close the connection after a number of bytes of the request, including its head.
    CutRequest(u64),
    /// Close the connection after a number of bytes of the response, including its head.
    CutAnswer(u64),
    /// Delay the request.
    Delay(Duration),
}

/// Chooses the fault of a request.
type Plan = Box<dyn FnMut(u64, &str) -> Option<Fault> + Send>;

/// A proxy in front of a server; stops when dropped.
pub struct Faults {
    address: SocketAddr,
    state: Arc<State>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("address", &self.address).finish_non_exhaustive()
    }
}

struct State {
    plan: Mutex<Plan>,
    /// Number of requests, and of those with a fault.
    requests: AtomicU64,
    faults: AtomicU64,
    /// Whether to stop listening.
    ended: AtomicBool,
}

impl Faults {
    /// Starts a proxy in front of a server, without faults.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn before(server: SocketAddr) -> Faults {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            plan: Mutex::new(Box::new(|_, _| None)),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                let state = shared.clone();
                // An error ends the connection too.
                std::thread::spawn(move || drop(state.pass(client, server)));
            }
        });
        Faults { address, state }
    }

    /// Address of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the faults: called for every request with its number from 0 and its first line.
    pub fn plan(&self, plan: impl FnMut(u64, &str) -> Option<Fault> + Send + 'static) {
        *self.state.locked() = Box::new(plan);
    }

    /// Number of requests, and of those with a fault.
    pub fn counts(&self) -> (u64, u64) {
        (self.state.requests.load(Ordering::Relaxed), self.state.faults.load(Ordering::Relaxed))
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn locked(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        // Bytes of responses that may still pass.
        let allowed = Arc::new(AtomicU64::new(u64::MAX));
        let (from, to, limit) = (server.try_clone()?, client.try_clone()?, allowed.clone());
        std::thread::spawn(move || drop(answers(from, to, &limit)));

        let mut buffer = vec![0; 64 << 10];
        let mut request_allowed = u64::MAX;
        loop {
            let read = client.read(&mut buffer)?;
            let bytes = &buffer[..read];
            if read == 0 {
                return server.shutdown(Shutdown::Write);
            }
            if let Some(line) = request_line(bytes) {
                let number = self.requests.fetch_add(1, Ordering::Relaxed);
                let fault = (self.locked())(number, &line);
                self.faults.fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
                match fault {
                    None => {}
                    Some(Fault::Answer(status)) => return answer(client, &server, status),
                    Some(Fault::CutRequest(bytes)) => request_allowed = bytes,
                    Some(Fault::CutAnswer(bytes)) => allowed.store(bytes, Ordering::Relaxed),
                    Some(Fault::Delay(duration)) => std::thread::sleep(duration),
                }
            }
            let passing = usize::try_from(request_allowed).unwrap_or(usize::MAX).min(read);
            server.write_all(&bytes[..passing])?;
            request_allowed = request_allowed.saturating_sub(read as u64);
            if request_allowed == 0 {
                server.shutdown(Shutdown::Both)?;
                return client.shutdown(Shutdown::Both);
            }
        }
    }
}

/// The first line of a request that starts with `bytes`, if any. The clients send a head in one write, and no body that
/// looks like one.
fn request_line(bytes: &[u8]) -> Option<String> {
    const METHODS: [&[u8]; 6] = [b"GET /", b"PUT /", b"HEAD /", b"POST /", b"DELETE /", b"COPY /"];
    METHODS.iter().any(|method| bytes.starts_with(method)).then(|| {
        let end = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    })
}

/// Responds instead of the server, and drains the request, so that the client reads the response.
fn answer(mut client: TcpStream, server: &TcpStream, status: u16) -> std::io::Result<()> {
    server.shutdown(Shutdown::Both)?;
    write!(client, "HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    std::io::copy(&mut client, &mut std::io::sink())?;
    Ok(())
}

fn answers(mut server: TcpStream, mut client: TcpStream, allowed: &AtomicU64) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = server.read(&mut buffer)?;
        if read == 0 {
            return client.shutdown(Shutdown::Both);
        }
        let left = allowed.load(Ordering::Relaxed);
        let passing = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        client.write_all(&buffer[..passing])?;
        if left != u64::MAX {
            allowed.store(left.saturating_sub(read as u64), Ordering::Relaxed);
            if left <= read as u64 {
                server.shutdown(Shutdown::Both)?;
                return client.shutdown(Shutdown::Both);
            }
        }
    }
}
