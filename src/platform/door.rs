//! The way to one address that a user chose: its headers, and a connection that can lead nowhere else.

use super::answer::{Answer, Broken};
use crate::egress::{Egress, HeaderMap, Patience};
use std::time::Duration;
use tokio::sync::OnceCell;

/// What a success may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Success {
    /// Anything but a page: an API answers, and a page comes from somebody in between.
    NoPage,
    /// The status alone says it.
    Status,
}

/// The way to one address, for the length of one reconcile.
pub(super) struct Door {
    headers: HeaderMap,
    success: Success,
    /// The name is looked up once: all requests go to the same, allowed addresses.
    client: OnceCell<reqwest::Client>,
}

impl Door {
    pub fn new(headers: HeaderMap, success: Success) -> Self {
        Self { headers, success, client: OnceCell::new() }
    }

    /// The headers that go there, the credential among them.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether a success is one. The body of an answer to a change is not looked at.
    pub fn look_at(&self, answer: &Answer) -> Result<(), &'static str> {
        match self.success {
            Success::NoPage => answer.refuse_html(),
            Success::Status => Ok(()),
        }
    }

    /// Sends one request, once, and reads its answer.
    pub async fn exchange(
        &self,
        egress: &Egress,
        request: reqwest::Request,
        deadline: Duration,
    ) -> Result<Answer, Broken> {
        let whole = async {
            let client = self.client(egress, request.url(), deadline).await?;
            let response = client.execute(request).await.map_err(|fault| Broken::of(&fault))?;
            egress.check_peer(&response).map_err(Broken::Stranger)?;
            match self.success {
                Success::NoPage => Answer::read(response).await,
                Success::Status => Ok(Answer::head(&response)),
            }
        };
        tokio::time::timeout(deadline, whole).await.unwrap_or(Err(Broken::Deadline))
    }

    async fn client(&self, egress: &Egress, url: &url::Url, deadline: Duration) -> Result<&reqwest::Client, Broken> {
        // Shares of the deadline, so that a server that cannot be found or reached is told from one that does not answer.
        let share = (deadline / 4).min(Duration::from_secs(5));
        let patience = Patience { lookup: share, connect: Some(share) };
        self.client.get_or_try_init(|| async { egress.client(url, patience).await }).await.map_err(Broken::Blocked)
    }
}
