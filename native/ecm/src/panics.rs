//! Panics, which are bugs: each is logged and counted, and ends only what it happened in. A client's task ends with its
//! client; loops that serve all clients go on.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use crate::metrics::PANICS;

/// How long a loop that panicked waits before it goes on: the cause may still be there.
const PAUSE: Duration = Duration::from_secs(1);

/// Something panicked; the log says where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bug, which the log names as a panic; please report it")]
pub struct Panicked;

/// A future that may be sent between threads.
pub type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Logs and counts each panic from now on.
pub fn tell() {
    set_hook(Box::new(|info| {
        PANICS.add(1);
        let (message, place) = (message(info.payload()), place(info));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            tracing::error!(
                "panic at {place}: {message}; this is a bug, please report it\n{trace}"
            );
        } else {
            tracing::error!(
                "panic at {place}: {message}; this is a bug, please report it (RUST_BACKTRACE=1 shows how it came to it)"
            );
        }
    }));
}

/// The output of a future, unless it panics.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(
        |context| match caught_in(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        },
    )
    .await
}

/// The result of a function, unless it panics.
///
/// What it was about may be in any state after that: the locks are parking_lot's, which are not poisoned, and what
/// they guard holds for each client by itself.
pub fn caught_in<T>(function: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|_told| Panicked)
}

/// Runs something that serves all clients until it ends. If it panics it is run again.
pub async fn lasting<T>(mut of: T, run: impl for<'a> Fn(&'a mut T) -> Running<'a>) {
    while caught(run(&mut of)).await.is_err() {
        sleep(PAUSE).await;
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let owned = || payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(owned).unwrap_or("without a message")
}

fn place(info: &PanicHookInfo<'_>) -> String {
    let location = info.location();
    location.map_or_else(|| "an unknown place".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_after_it_waited_is_caught() {
        let panics = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "as asked");
        };
        assert_eq!(caught(panics).await, Err(Panicked));
        assert_eq!(caught(async { 1 }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_serves_all_goes_on_after_a_panic() {
        let mut runs = 0;
        lasting(&mut runs, |runs| {
            Box::pin(async move {
                **runs += 1;
                assert!(**runs > 2, "as asked");
            })
        })
        .await;
        assert_eq!(runs, 3);
    }
}
