//! Stream management (XEP-0198) of one user: what was sent and not acknowledged, what was received, and how the stream
//! is resumed.

use std::collections::VecDeque;

use megaphone_xmpp::escape;
use megaphone_xmpp::xml::Root;

const NS: &str = "urn:xmpp:sm:3";

/// A stream whose stanzas are counted (XEP-0198, section 4).
#[derive(Debug, Default)]
pub struct Management {
    /// By which it is resumed; the server may give none.
    id: Option<String>,
    /// How many stanzas came.
    received: u32,
    /// How many of those sent the server has.
    acknowledged: u32,
    /// Those that it may not have.
    unacknowledged: VecDeque<String>,
}

/// Asks the server to manage the stream, and to keep it for a while.
pub fn enable() -> String {
    format!("<enable xmlns='{NS}' resume='true'/>")
}

impl Management {
    /// As the server's `<enabled/>` says. The messages that the stream `before` has left are this one's first, as the
    /// server may not have them.
    pub fn enabled(enabled: &Root<'_>, before: Option<Self>) -> Self {
        let mut unacknowledged = before.unwrap_or_default().unacknowledged;
        unacknowledged.retain(|stanza| stanza.starts_with("<message"));
        Self {
            id: enabled.attribute("id").map(|id| id.into_owned()),
            unacknowledged,
            ..Self::default()
        }
    }

    /// Asks for the stream to be resumed (section 5), if the server has said how.
    pub fn resume(&self) -> Option<String> {
        let id = self.id.as_deref()?;
        let (received, id) = (self.received, escape(id));
        Some(format!(
            "<resume xmlns='{NS}' h='{received}' previd='{id}'/>"
        ))
    }

    /// The server can't resume the stream, and may say what it had.
    pub fn failed(&mut self, failed: &Root<'_>) {
        self.acknowledge(failed);
        self.id = None;
    }

    /// What the server may not have: it is sent again once the stream is resumed, or there is a new one.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &str> {
        self.unacknowledged.iter().map(String::as_str)
    }

    /// A stanza is sent.
    pub fn sent(&mut self, stanza: &str) {
        self.unacknowledged.push_back(stanza.to_owned());
    }

    /// Asks the server how many it has, as most clients do behind each stanza.
    pub fn ask() -> String {
        format!("<r xmlns='{NS}'/>")
    }

    /// A stanza came.
    pub const fn received(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// The answer to the server's `<r/>`.
    pub fn answer(&self) -> String {
        format!("<a xmlns='{NS}' h='{}'/>", self.received)
    }

    /// The server has as many as it says. It can't have more than there were, nor fewer than before.
    pub fn acknowledge(&mut self, answer: &Root<'_>) {
        let Some(number) = answer.attribute("h").and_then(|h| h.parse::<u32>().ok()) else {
            return;
        };
        let more = number.wrapping_sub(self.acknowledged);
        if more > u32::MAX / 2 {
            return;
        }
        let count = self.unacknowledged.len().min(more as usize);
        self.unacknowledged.drain(..count);
        self.acknowledged = self.acknowledged.wrapping_add(count as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(document: &str) -> Root<'_> {
        Root::new(document.as_bytes()).unwrap()
    }

    fn unacknowledged(management: &Management) -> Vec<&str> {
        management.unacknowledged().collect()
    }

    #[test]
    fn what_the_server_does_not_have_is_sent_again() {
        let enabled = root("<enabled xmlns='urn:xmpp:sm:3' id='a&amp;b'/>");
        let mut management = Management::enabled(&enabled, None);
        for number in 1..=10 {
            management.sent(&format!("<m{number}/>"));
        }
        management.acknowledge(&root("<a h='3'/>"));
        management.received();
        management.received();
        assert_eq!(management.answer(), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
        assert_eq!(
            management.resume().unwrap(),
            "<resume xmlns='urn:xmpp:sm:3' h='2' previd='a&amp;b'/>"
        );
        management.acknowledge(&root("<resumed h='8'/>"));
        assert_eq!(unacknowledged(&management), ["<m9/>", "<m10/>"]);
        management.acknowledge(&root("<a h='7'/>"));
        assert_eq!(unacknowledged(&management), ["<m9/>", "<m10/>"]);
        management.acknowledge(&root("<a h='99'/>"));
        assert!(unacknowledged(&management).is_empty());
    }

    #[test]
    fn a_stream_without_an_id_is_not_resumed() {
        assert_eq!(
            Management::enabled(&root("<enabled/>"), None).resume(),
            None
        );
    }

    #[test]
    fn messages_of_a_stream_that_is_not_resumed_are_sent_in_the_next() {
        let enabled = root("<enabled id='a'/>");
        let mut before = Management::enabled(&enabled, None);
        for stanza in ["<message id='1'/>", "<presence/>", "<message id='2'/>"] {
            before.sent(stanza);
        }
        before.failed(&root("<failed h='1'/>"));
        assert_eq!(before.resume(), None);
        let mut management = Management::enabled(&enabled, Some(before));
        assert_eq!(unacknowledged(&management), ["<message id='2'/>"]);
        management.acknowledge(&root("<a h='1'/>"));
        assert!(unacknowledged(&management).is_empty());
    }
}
