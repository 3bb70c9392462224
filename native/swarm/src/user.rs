//! One user: it logs in, stays online, answers what it is asked, and sends when it is told to.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use megaphone_xmpp::xml::Root;
use tokio::time::{sleep, timeout};

use crate::activity::Activity;
use crate::channel::{Bosh, Channel, ChannelError, Tcp, WebSocket};
use crate::management::{self, Management};
use crate::stanza;
use crate::swarm::{Swarm, Transport};

/// Begins a user's life, in a task of its own. It lasts until the swarm ends or, without reconnecting, until its
/// connection is lost.
pub fn begin(swarm: Arc<Swarm>, index: usize) {
    // A task for each transport: one for all would be as large as that of the largest.
    match swarm.settings.transport {
        Transport::Tcp => tokio::spawn(async move {
            let connect = || Tcp::connect(&swarm.route, &swarm.settings.domain);
            sessions(&swarm, index, connect).await;
        }),
        Transport::WebSocket => tokio::spawn(async move {
            let connect = || WebSocket::connect(&swarm.route, &swarm.settings.domain);
            sessions(&swarm, index, connect).await;
        }),
        Transport::Bosh => tokio::spawn(async move {
            let connect = || Bosh::connect(&swarm.route, &swarm.settings.domain);
            sessions(&swarm, index, connect).await;
        }),
        Transport::Trunk => tokio::spawn(async move {
            let connect = || swarm.trunks.open(&swarm.route, index);
            sessions(&swarm, index, connect).await;
        }),
    };
}

/// Why a user is not online any more.
enum Ended {
    InOrder,
    Broken(ChannelError),
}

async fn sessions<C, F>(swarm: &Arc<Swarm>, index: usize, connect: impl Fn() -> F + Send)
where
    C: Channel,
    F: Future<Output = Result<C, ChannelError>> + Send,
{
    let mut managed = None;
    loop {
        // In boxes, or an idle user would keep the room that a login takes, and that of the channel several times.
        let login = Box::pin(swarm.turn(log_in(swarm, index, &mut managed, connect())));
        match login.await {
            Some(Ok(mut channel)) => match stay(swarm, index, &mut managed, &mut *channel).await {
                Ended::InOrder => return leave(swarm, channel).await,
                Ended::Broken(error) => swarm.ledger.broke(index, &error.to_string()),
            },
            Some(Err(reason)) => swarm.ledger.login_failed(&reason),
            None => return,
        }
        if !swarm.settings.reconnect {
            return;
        }
        sleep(swarm.settings.reconnect_after).await;
        swarm.pace().await;
    }
}

async fn log_in<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    connect: impl Future<Output = Result<C, ChannelError>> + Send,
) -> Result<Box<C>, String> {
    let started = Instant::now();
    let within = swarm.settings.login_timeout;
    match timeout(within, authenticate(swarm, index, managed, connect)).await {
        Ok(Ok((channel, is_resumed))) => {
            swarm.ledger.logged_in(index, started.elapsed(), is_resumed);
            Ok(Box::new(channel))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("no login within {} s", within.as_secs())),
    }
}

/// A channel of a user who is online, and whether its stream was resumed.
async fn authenticate<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    connect: impl Future<Output = Result<C, ChannelError>> + Send,
) -> Result<(C, bool), ChannelError> {
    let settings = &swarm.settings;
    let mut channel = connect.await?;
    channel.open(&settings.domain).await?;
    expect(&mut channel, "features").await?;
    let auth = stanza::plain_auth(&swarm.name(index), &settings.password);
    channel.send(&auth).await?;
    expect(&mut channel, "success").await?;
    channel.open(&settings.domain).await?;
    expect(&mut channel, "features").await?;
    if resume(swarm, managed, &mut channel).await? {
        return Ok((channel, true));
    }
    channel.send(&stanza::bind(&settings.resource)).await?;
    loop {
        let document = channel.recv().await?;
        let Some(root) = Root::new(&document) else {
            continue;
        };
        match (
            root.attribute("id").as_deref(),
            root.attribute("type").as_deref(),
        ) {
            (Some("bind"), Some("result")) => break,
            (Some("bind"), _) => return Err(refused("bind", &document)),
            _ => {}
        }
    }
    if settings.stream_management {
        channel.send(&management::enable()).await?;
        let enabled = expect(&mut channel, "enabled").await?;
        let before = managed.take().map(|it| *it);
        *managed = Root::new(&enabled).map(|root| Box::new(Management::enabled(&root, before)));
        send_again(managed.as_deref(), &mut channel).await?;
    }
    send(managed, &mut channel, "<presence/>").await?;
    Ok((channel, false))
}

/// Resumes the stream that was lost, if the server has it still.
async fn resume<C: Channel>(
    swarm: &Swarm,
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
) -> Result<bool, ChannelError> {
    let Some(request) = managed.as_ref().and_then(|it| it.resume()) else {
        return Ok(false);
    };
    channel.send(&request).await?;
    let answer = channel.recv().await?;
    let (Some(root), Some(management)) = (Root::new(&answer), managed.as_mut()) else {
        return Ok(false);
    };
    if root.local_name() != "resumed" {
        management.failed(&root);
        let document = String::from_utf8_lossy(&answer);
        swarm
            .ledger
            .not_resumed(&format!("the stream is not resumed: {document}"));
        return Ok(false);
    }
    management.acknowledge(&root);
    send_again(managed.as_deref(), channel).await?;
    Ok(true)
}

/// Sends what the server may not have, and asks for it, or a user who says nothing more would send it once more after
/// the next stream. It counts already.
async fn send_again<C: Channel>(
    managed: Option<&Management>,
    channel: &mut C,
) -> Result<(), ChannelError> {
    let mut is_any = false;
    for stanza in managed.iter().flat_map(|it| it.unacknowledged()) {
        channel.send(stanza).await?;
        is_any = true;
    }
    if is_any {
        channel.send(&Management::ask()).await?;
    }
    Ok(())
}

/// Sends a stanza, which counts if the stream is managed.
async fn send<C: Channel>(
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
    stanza: &str,
) -> Result<(), ChannelError> {
    // It counts before it is sent: if that fails, it has to be sent again.
    let is_managed = managed.as_mut().map(|it| it.sent(stanza)).is_some();
    channel.send(stanza).await?;
    if is_managed {
        channel.send(&Management::ask()).await?;
    }
    Ok(())
}

async fn expect<C: Channel>(channel: &mut C, name: &str) -> Result<Bytes, ChannelError> {
    let document = channel.recv().await?;
    match Root::new(&document) {
        Some(root) if root.local_name() == name => Ok(document),
        _ => Err(refused(name, &document)),
    }
}

fn refused(expected: &str, document: &Bytes) -> ChannelError {
    ChannelError::protocol(format!(
        "expected {expected}, got {}",
        String::from_utf8_lossy(document)
    ))
}

async fn stay<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
) -> Ended {
    let member = &swarm.members[index];
    member.online.store(true, Relaxed);
    let ended = loop {
        if swarm.is_ending() {
            break Ended::InOrder;
        }
        // What is done with it is in a box, or an idle user would keep the room for that.
        let done = tokio::select! {
            document = channel.recv() => match document {
                Ok(document) => Box::pin(take(swarm, index, managed, channel, document)).await,
                Err(error) => Err(error),
            },
            () = member.wake.notified() => Box::pin(obey(swarm, index, managed, channel)).await,
        };
        if let Err(error) = done {
            break Ended::Broken(error);
        }
    };
    member.online.store(false, Relaxed);
    ended
}

async fn leave<C: Channel>(swarm: &Swarm, channel: Box<C>) {
    let _ = Box::pin(timeout(swarm.settings.login_timeout, channel.close())).await;
    swarm.ledger.left();
}

/// Does what the user was told to do.
async fn obey<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
) -> Result<(), ChannelError> {
    say(swarm, index, managed, channel).await?;
    act(swarm, index, managed, channel).await
}

async fn say<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
) -> Result<(), ChannelError> {
    for _ in 0..swarm.members[index].to_send.swap(0, Relaxed) {
        let message = swarm.next_message(index);
        send(managed, channel, &message).await?;
    }
    Ok(())
}

async fn act<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
) -> Result<(), ChannelError> {
    for _ in 0..swarm.members[index].to_act.swap(0, Relaxed) {
        let Some(activity) = swarm.acts.now() else {
            break;
        };
        let number = swarm.acts.done();
        match activity {
            Activity::KeepAlive => {
                if !channel.keep_alive().await? {
                    swarm.acts.answered();
                }
            }
            Activity::Acknowledgement => channel.send(&Management::ask()).await?,
            Activity::Ping => send(managed, channel, &stanza::ping()).await?,
            Activity::Presence => send(managed, channel, &stanza::presence(number)).await?,
        }
    }
    Ok(())
}

async fn take<C: Channel>(
    swarm: &Swarm,
    index: usize,
    managed: &mut Option<Box<Management>>,
    channel: &mut C,
    document: Bytes,
) -> Result<(), ChannelError> {
    if document.is_empty() {
        swarm.acts.answered();
        return Ok(());
    }
    let Some(root) = Root::new(&document) else {
        return Ok(());
    };
    swarm
        .acts
        .heard(&root, || format!("{}@", swarm.name(index)));
    if let Some(management) = managed {
        match root.name() {
            "r" => return channel.send(&management.answer()).await,
            "a" => management.acknowledge(&root),
            "message" | "presence" | "iq" => management.received(),
            _ => {}
        }
    }
    match root.name() {
        "message" => {
            let is_error = root.attribute("type").as_deref() == Some("error");
            if let Some(body) = stanza::body(&document) {
                swarm.got_message(index, body, is_error);
            }
        }
        "iq" if matches!(root.attribute("type").as_deref(), Some("get" | "set")) => {
            send(managed, channel, &stanza::result(&root)).await?;
        }
        "stream:error" => return Err(refused("no error", &document)),
        _ => {}
    }
    Ok(())
}
