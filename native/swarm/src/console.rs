//! Another program says what the users do, on the standard input, and is told what came of it.

use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::sync::Notify;

use crate::control::{Command, Event};
use crate::crew::Crew;
use crate::report::Traffic;

/// Does what another program says, until it says end or nothing more.
///
/// # Errors
/// What is no command, or none for now, or the crew's.
pub async fn run(mut crew: Crew) -> io::Result<ExitCode> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut early = log_in(&mut crew, &mut lines).await?;
    loop {
        let line = match early.take() {
            Some(line) => Some(line),
            None => lines.next_line().await?,
        };
        let Some(line) = line else {
            break;
        };
        match line.parse::<Command>() {
            Ok(Command::Enough) => {}
            Ok(Command::Traffic { rate, duration }) => {
                say(&Event::Traffic(
                    exchange(&mut crew, rate, duration, &mut lines).await?,
                ));
            }
            Ok(Command::Random { rate, duration }) => {
                say(&Event::Random(
                    crew.exchange_at_random(rate, duration).await?,
                ));
            }
            Ok(Command::Send {
                rate,
                duration,
                receivers,
            }) => {
                let seconds = crew.send(rate, duration, receivers).await?;
                say(&Event::Sent { seconds });
            }
            Ok(Command::Arrivals) => say(&Event::Arrivals(crew.take_arrivals().await?)),
            Ok(Command::Act(act)) => say(&Event::Acted(crew.act(act).await?)),
            Ok(Command::Stop) => {}
            Ok(Command::Status) => say(&crew.status().await?),
            Ok(Command::End) => break,
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    say(&Event::End(crew.end().await?));
    Ok(ExitCode::SUCCESS)
}

/// Logs all in, or those who have begun when a line says enough. Another line is not for now, and is given back.
async fn log_in(
    crew: &mut Crew,
    lines: &mut Lines<BufReader<Stdin>>,
) -> io::Result<Option<String>> {
    let enough = Notify::new();
    let mut early = None;
    let mut is_heard = false;
    let mut logins = pin!(crew.log_in(&enough, say));
    let logins = loop {
        let line = tokio::select! {
            logins = &mut logins => break logins?,
            line = lines.next_line(), if !is_heard => line?,
        };
        is_heard = true;
        match line.as_deref().map(str::parse::<Command>) {
            Some(Ok(Command::Enough)) => enough.notify_one(),
            _ => early = line,
        }
    };
    say(&Event::Online(logins));
    Ok(early)
}

/// Sends messages for so long, or until a line says stop.
async fn exchange(
    crew: &mut Crew,
    rate: f64,
    duration: Duration,
    lines: &mut Lines<BufReader<Stdin>>,
) -> io::Result<Traffic> {
    let stop = Notify::new();
    let mut traffic = pin!(crew.exchange(rate, duration, &stop));
    let line = tokio::select! {
        traffic = &mut traffic => return traffic,
        line = lines.next_line() => line?,
    };
    match line.as_deref().map(str::parse::<Command>) {
        // Where nobody says anything any more, nobody says stop either.
        Some(Ok(Command::Stop)) | None => {
            stop.notify_one();
            traffic.await
        }
        Some(Ok(_)) => Err(io::Error::other("messages are being sent; write stop")),
        Some(Err(error)) => Err(io::Error::other(error)),
    }
}

fn say(event: &Event) {
    // Who reads it may be gone; then the input ends too.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.push('\n');
    let _ = io::stdout().write_all(line.as_bytes());
}
