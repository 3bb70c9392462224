//! What a client hears that came in vain.

use std::future::poll_fn;

use tokio::net::TcpStream;

use crate::config::ListenerKind;
use crate::http::Reply;
use crate::peer::{Socket, socket};

/// Tells a client that just connected why it can't be served.
pub async fn refuse(stream: TcpStream, kind: ListenerKind, reply: Reply) {
    let answer = reply.before_all(kind.application(), kind.is_tls());
    answer_and_close(Socket::Plain(stream), &answer).await;
}

/// The same without waiting for anything: it hears it unless it sends more at this moment.
pub fn refuse_at_once(stream: &TcpStream, kind: ListenerKind, reply: Reply) {
    let answer = reply.before_all(kind.application(), kind.is_tls());
    socket::send_and_forget(stream, &answer);
}

/// Gives a client that just connected an answer, and no more.
pub async fn answer_and_close(mut socket: Socket, answer: &[u8]) {
    // It has room, but the runtime has to find that out.
    let writable = poll_fn(|context| socket.poll_writable(context)).await;
    // If this fails the client is gone.
    if writable.is_ok() && socket.try_write(answer).is_ok() {
        socket::close_gently(socket).await;
    }
}
