//! Lists that are complete or fail.

use super::Result;
use super::session::{Read, Session};
use crate::failpoint::planted;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use url::Url;

/// Most pages of one list. A list that goes on behind them is an error, never a short list.
const MOST_PAGES: usize = 500;
/// A bug that can be planted.
const FIRST_PAGE_ONLY: &str = "first-page-only";

/// All items of a list. Only this module makes one, and only after the last page.
pub(super) struct Complete<T>(Vec<T>);

impl<T> Complete<T> {
    pub fn into_items(self) -> Vec<T> {
        self.0
    }
}

/// An item that is told from the others of its list.
pub(super) trait Keyed {
    fn key(&self) -> &str;
}

/// What Render wraps each item of a list in ("Pagination").
#[derive(Deserialize)]
struct Entry<T> {
    #[serde(rename = "deploy", alias = "envVar")]
    item: T,
    cursor: Option<String>,
}

/// A list as it is read, page by page.
struct Pages<'a, T> {
    session: &'a Session,
    operation: &'static str,
    items: Vec<T>,
    keys: BTreeSet<String>,
    addresses: BTreeSet<String>,
}

impl<'a, T: Keyed> Pages<'a, T> {
    const fn new(session: &'a Session, operation: &'static str) -> Self {
        Self { session, operation, items: Vec::new(), keys: BTreeSet::new(), addresses: BTreeSet::new() }
    }

    /// Notes the way to the next page. One that was gone before leads in a circle.
    fn next(&mut self, way: &str) -> Result<()> {
        if self.addresses.len() >= MOST_PAGES {
            return Err(self.session.unexpected(self.operation, "the list has more than 500 pages"));
        }
        if self.addresses.insert(way.to_string()) { Ok(()) } else { Err(self.repeats()) }
    }

    fn take(&mut self, page: impl Iterator<Item = T>) -> Result<()> {
        for item in page {
            if !self.keys.insert(item.key().to_string()) {
                return Err(self.repeats());
            }
            self.items.push(item);
        }
        Ok(())
    }

    fn repeats(&self) -> super::Error {
        self.session.unexpected(self.operation, "a page repeats")
    }
}

/// Reads a list of Render to its end.
///
/// The end is an empty page, nothing else. The vendor calls a page shorter than `limit` the last one, but a server that grants fewer items
/// than were asked for makes every page short, and what is taken for the end there is lost in a restore. The price is one call per list.
pub(super) async fn by_cursor<T: Keyed + DeserializeOwned>(session: &Session, read: Read<'_>) -> Result<Complete<T>> {
    let (items, _) = walk(session, read, |_| planted(FIRST_PAGE_ONLY)).await?;
    Ok(Complete(items))
}

/// Reads a list of Render until `enough` says so; `true` beside the items where the end was reached.
pub(super) async fn walk<T: Keyed + DeserializeOwned>(
    session: &Session,
    read: Read<'_>,
    enough: impl Fn(&[T]) -> bool,
) -> Result<(Vec<T>, bool)> {
    let mut pages = Pages::new(session, read.operation);
    let mut cursor: Option<String> = None;
    loop {
        let mut query = read.query.to_vec();
        query.push(("limit", "100"));
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let page: Vec<Entry<T>> = session.get(Read { query: &query, ..read }).await?;
        let Some(last) = page.last() else { return Ok((pages.items, true)) };
        let missing = || session.unexpected(read.operation, "a page has no cursor");
        let next = last.cursor.clone().ok_or_else(missing)?;
        pages.take(page.into_iter().map(|entry| entry.item))?;
        pages.next(&next)?;
        if enough(&pages.items) {
            return Ok((pages.items, false));
        }
        cursor = Some(next);
    }
}

/// Reads a list to its end by the `Link` header (Netlify, GitHub).
pub(super) async fn by_link<T: Keyed + DeserializeOwned>(session: &Session, read: Read<'_>) -> Result<Complete<T>> {
    let mut pages = Pages::new(session, read.operation);
    let mut url = session.address(read.operation, read.path, read.query)?;
    loop {
        pages.next(url.as_str())?;
        let answer = session.get_url(read, url.clone()).await?;
        let page: Vec<T> = answer.decode().map_err(|said| session.unexpected(read.operation, said))?;
        pages.take(page.into_iter())?;
        let next = answer.next_page().filter(|_| !planted(FIRST_PAGE_ONLY));
        let Some(next) = next else { return Ok(Complete(pages.items)) };
        url = url
            .join(&next)
            .ok()
            .filter(|next: &Url| session.is_own(next))
            .ok_or_else(|| session.unexpected(read.operation, "the next page is said to be on another host"))?;
    }
}
