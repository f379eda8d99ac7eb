//! Futures that take more than one poll.

use std::task::Poll;

/// Pending once, so that another future gets its turn.
pub(crate) async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
