//! A connection that does what its seat is told.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use hyper_util::server::graceful::GracefulConnection;

use super::seat::{Cut, Order, Seat};

/// A connection that can be asked to end.
pub(super) trait Served:
    GracefulConnection<Error = hyper::Error> + Future<Output = hyper::Result<()>> + Send
{
}
impl<C: GracefulConnection<Error = hyper::Error> + Future<Output = hyper::Result<()>> + Send> Served for C {}

/// Why work did not come to its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was asked to.
    Left,
    /// It was cut.
    Cut(Cut),
}

/// Does work that any order ends: nothing of a call is in it yet.
pub(super) async fn unless_told<T>(seat: &Seat, work: impl Future<Output = T>) -> Result<T, Ended> {
    let mut work = pin!(work);
    let mut waker = None;
    poll_fn(|cx| {
        seat.listen(cx, &mut waker);
        match seat.order() {
            None => work.as_mut().poll(cx).map(Ok),
            Some(Order::Leave) => Poll::Ready(Err(Ended::Left)),
            Some(Order::MakeRoom) => Poll::Ready(Err(Ended::Cut(Cut::MadeRoom))),
            Some(Order::Cut(why)) => Poll::Ready(Err(Ended::Cut(why))),
        }
    })
    .await
}

/// Serves a connection to its end or until it is told to go; `None` when it is to rest, which only HTTP/1.1 is told.
///
/// Asked to leave, it finishes the calls under way: hyper says `connection: close` or GOAWAY. To make room it says the
/// same, once, and does not wait for an answer.
pub(super) async fn serve(
    seat: &Seat,
    mut connection: Pin<&mut impl Served>,
) -> Result<Option<hyper::Result<()>>, Cut> {
    let (mut waker, mut told) = (None, false);
    poll_fn(|cx| {
        seat.listen(cx, &mut waker);
        let order = seat.order();
        if let Some(Order::Cut(why)) = order {
            return Poll::Ready(Err(why));
        }
        if order.is_some() && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(cx);
        if order == Some(Order::MakeRoom) && seat.is_idle() {
            return Poll::Ready(Err(Cut::MadeRoom));
        }
        if polled.is_pending() && !told && seat.may_rest() {
            return Poll::Ready(Ok(None));
        }
        polled.map(|served| Ok(Some(served)))
    })
    .await
}
