//! Stream management (XEP-0198) of one user: what was sent and not acknowledged, what was received, and how the stream
//! is resumed.

use std::collections::VecDeque;

use megaphone_xmpp::escape;
use megaphone_xmpp::xml::Root;

/// After so many stanzas the server is asked how many it has.
const ASK_AFTER: u32 = 8;

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
    /// As the server's `<enabled/>` says.
    pub fn enabled(enabled: &Root<'_>) -> Self {
        Self {
            id: enabled.attribute("id").map(|id| id.into_owned()),
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

    /// The server has resumed the stream: what it did not get is sent again.
    pub fn resumed(&mut self, resumed: &Root<'_>) -> Vec<String> {
        self.acknowledge(resumed);
        self.unacknowledged.iter().cloned().collect()
    }

    /// A stanza is sent; whether the server is to be asked how many it has.
    pub fn sent(&mut self, stanza: &str) -> Option<String> {
        self.unacknowledged.push_back(stanza.to_owned());
        let sent = u32::try_from(self.unacknowledged.len()).unwrap_or(0);
        (sent % ASK_AFTER == 0).then(|| format!("<r xmlns='{NS}'/>"))
    }

    /// A stanza came.
    pub const fn received(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// The answer to the server's `<r/>`.
    pub fn answer(&self) -> String {
        format!("<a xmlns='{NS}' h='{}'/>", self.received)
    }

    /// The server has as many as it says.
    pub fn acknowledge(&mut self, answer: &Root<'_>) {
        let number = answer.attribute("h").and_then(|h| h.parse::<u32>().ok());
        while let Some(number) = number
            && number != self.acknowledged
            && self.unacknowledged.pop_front().is_some()
        {
            self.acknowledged = self.acknowledged.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(document: &str) -> Root<'_> {
        Root::new(document.as_bytes()).unwrap()
    }

    #[test]
    fn what_the_server_does_not_have_is_sent_again() {
        let mut management =
            Management::enabled(&root("<enabled xmlns='urn:xmpp:sm:3' id='a&amp;b'/>"));
        for number in 1..=10 {
            let asked = management.sent(&format!("<m{number}/>"));
            assert_eq!(asked.is_some(), number == 8, "{number}");
        }
        management.acknowledge(&root("<a h='3'/>"));
        management.received();
        management.received();
        assert_eq!(management.answer(), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
        assert_eq!(
            management.resume().unwrap(),
            "<resume xmlns='urn:xmpp:sm:3' h='2' previd='a&amp;b'/>"
        );
        let again = management.resumed(&root("<resumed h='8'/>"));
        assert_eq!(again, ["<m9/>", "<m10/>"]);
        // It can't have more than there were.
        management.acknowledge(&root("<a h='99'/>"));
        assert!(management.resumed(&root("<resumed h='10'/>")).is_empty());
    }

    #[test]
    fn a_stream_without_an_id_is_not_resumed() {
        assert_eq!(Management::enabled(&root("<enabled/>")).resume(), None);
    }
}
