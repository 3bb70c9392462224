//! The smallest ECM, by nothing of this project: rust-yamux for the trunk, the crate ppp for the
//! headers.
//!
//! ```text
//! yamux_client ADDRESS requests COUNT        GET /echo/ip on so many streams, each a client of its own
//! yamux_client ADDRESS download PATH FILE    the body of a GET, into a file
//! yamux_client ADDRESS upload PATH FILE      a file as the body of a POST; the answer's body is printed
//! ```
//!
//! It ends with an error where an answer is not what it should be.

#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use ppp::v2::{Builder, Command, Protocol, Type, Version};
use tokio_util::compat::TokioAsyncReadCompatExt as _;
use yamux::{Config, Connection, Mode, Stream};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Streams of one trunk at a time: rust-yamux opens no more than 256 that nobody has accepted.
const AT_ONCE: u16 = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [address, "requests", count] => requests(address, count.parse()?).await,
        [address, "download", path, file] => download(address, path, file).await,
        [address, "upload", path, file] => upload(address, path, file).await,
        _ => Err(
            "usage: yamux_client ADDRESS requests COUNT | download PATH FILE | upload PATH FILE"
                .into(),
        ),
    }
}

async fn requests(address: &str, count: u16) -> Result<(), Error> {
    if count > AT_ONCE {
        return Err(format!("{count} streams at once, {AT_ONCE} are the most").into());
    }
    let mut trunk = Trunk::connect(address).await?;
    let mut tasks = Vec::new();
    for client in (1..=count).map(client) {
        tasks.push((client, trunk.open().await?));
    }
    trunk.drive();
    let tasks = tasks.into_iter().map(|(client, stream)| {
        tokio::spawn(async move {
            let mut stream = stream;
            send(
                &mut stream,
                client,
                "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n",
                &[],
            )
            .await?;
            let body = receive(&mut stream).await?;
            stream.close().await?;
            if body == client.ip().to_string().as_bytes() {
                Ok(())
            } else {
                Err(format!("{client} is taken for {}", body.escape_ascii()).into())
            }
        })
    });
    for task in tasks.collect::<Vec<tokio::task::JoinHandle<Result<(), Error>>>>() {
        task.await??;
    }
    Ok(())
}

async fn download(address: &str, path: &str, file: &str) -> Result<(), Error> {
    let mut trunk = Trunk::connect(address).await?;
    let mut stream = trunk.open().await?;
    trunk.drive();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    send(&mut stream, client(1), &head, &[]).await?;
    std::fs::write(file, receive(&mut stream).await?)?;
    Ok(())
}

async fn upload(address: &str, path: &str, file: &str) -> Result<(), Error> {
    let body = std::fs::read(file)?;
    let mut trunk = Trunk::connect(address).await?;
    let mut stream = trunk.open().await?;
    trunk.drive();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    send(&mut stream, client(1), &head, &body).await?;
    print!("{}", String::from_utf8(receive(&mut stream).await?)?);
    Ok(())
}

struct Trunk(Connection<tokio_util::compat::Compat<tokio::net::TcpStream>>);

impl Trunk {
    async fn connect(address: &str) -> Result<Self, Error> {
        let socket = tokio::net::TcpStream::connect(address).await?;
        Ok(Self(Connection::new(
            socket.compat(),
            Config::default(),
            Mode::Client,
        )))
    }

    async fn open(&mut self) -> Result<Stream, Error> {
        Ok(poll_fn(|cx| self.0.poll_new_outbound(cx)).await?)
    }

    /// Carries the streams' bytes from here on; ejabberd opens none itself.
    fn drive(mut self) {
        tokio::spawn(async move { poll_fn(|cx| self.0.poll_next_inbound(cx)).await });
    }
}

fn client(number: u16) -> SocketAddrV4 {
    let [high, low] = number.to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(10, 1, high, low), 40_000 + number)
}

/// A stream's PROXY header and a request.
async fn send(
    stream: &mut Stream,
    client: SocketAddrV4,
    head: &str,
    body: &[u8],
) -> Result<(), Error> {
    let server = SocketAddr::from(([198, 51, 100, 1], 443));
    let header = Builder::with_addresses(
        Version::Two | Command::Proxy,
        Protocol::Stream,
        (SocketAddr::from(client), server),
    )
    .write_tlv(Type::ALPN, b"http/1.1")?
    .build()?;
    stream.write_all(&header).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    Ok(())
}

/// The body of an answer with status 200.
async fn receive(stream: &mut Stream) -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    loop {
        let mut buffer = vec![0; 64 << 10];
        let read = stream.read(&mut buffer).await?;
        input.extend_from_slice(&buffer[..read]);
        let end = input.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(input[..end].to_vec())?.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.ok_or("an answer without Content-Length")?.parse()?;
            if !head.starts_with("http/1.1 200 ") {
                return Err(head.into());
            }
            let mut body = input.split_off(end + 4);
            let read = body.len();
            body.resize(length, 0);
            stream.read_exact(&mut body[read..]).await?;
            return Ok(body);
        }
        if read == 0 {
            return Err(format!("the stream ended after {} bytes", input.len()).into());
        }
    }
}
