//! Serves the library s3s-fs on the loopback interface: an S3 server that verifies signatures, checksums and trailers,
//! with buckets as folders.
//!
//! `s3s-fs PORT FOLDER ACCESS_KEY SECRET_KEY`

use std::io::{Error, Result};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, folder, access_key, secret_key] = <[String; 4]>::try_from(arguments)
        .map_err(|found| Error::other(format!("expected PORT FOLDER ACCESS_KEY SECRET_KEY, found {found:?}")))?;
    let port: u16 = port.parse().map_err(Error::other)?;
    let files = FileSystem::new(folder).map_err(|error| Error::other(format!("{error:?}")))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(access_key, secret_key));
    let service = service.build();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            // Ignore clients that disconnect.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
