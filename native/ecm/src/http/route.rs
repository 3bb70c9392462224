//! Which requests end here, by their paths. All others go on to ejabberd.

use megaphone_http::{handler_path, is_at_or_below};

use super::host_meta::Format;
use crate::config::Config;
use crate::trunk::Capabilities;

const HOST_META: &str = "/.well-known/host-meta";
const HOST_META_JSON: &str = "/.well-known/host-meta.json";

/// What takes a request that does not go on to ejabberd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// WebSocket (RFC 7395).
    WebSocket,
    /// Where BOSH and WebSocket are (XEP-0156).
    HostMeta(Format),
    /// BOSH (XEP-0124).
    Bosh,
    /// Nothing: it is below a path where only that path itself is served.
    Nothing,
}

/// The paths of what ends here.
#[derive(Debug, Default)]
pub struct Routes(Vec<(Vec<u8>, Route)>);

impl Routes {
    /// As configured. None where trunks carry no sessions.
    pub fn of(config: &Config) -> Self {
        let mut routes = Vec::new();
        if !Capabilities::of(config.trunk.protocol).sessions {
            return Self(routes);
        }
        let mut add = |path: &str, route| {
            let path = handler_path(path).unwrap_or_default().into_owned();
            routes.push((path, route));
        };
        if config.websocket.enabled {
            for path in &config.websocket.paths {
                add(path, Route::WebSocket);
            }
        }
        if config.host_meta.enabled {
            add(HOST_META, Route::HostMeta(Format::Xml));
            add(HOST_META_JSON, Route::HostMeta(Format::Json));
        }
        if config.bosh.enabled {
            for path in &config.bosh.paths {
                add(path, Route::Bosh);
            }
        }
        Self(routes)
    }

    /// What takes a request with this target; nothing if it goes on to ejabberd.
    ///
    /// A path is the one that ejabberd_http would see, however it is written, and as there all paths below
    /// it belong to it, unless they belong to a longer one: no limit of this program's is passed by a
    /// request that ejabberd would take for the same.
    pub fn find(&self, target: &str) -> Option<Route> {
        let path = handler_path(target)?;
        let (prefix, route) = self
            .0
            .iter()
            .filter(|(prefix, _)| is_at_or_below(&path, prefix))
            .max_by_key(|(prefix, _)| prefix.len())?;
        let is_below = path.len() > prefix.len();
        Some(match route {
            // As ejabberd does.
            Route::WebSocket => Route::WebSocket,
            _ if is_below => Route::Nothing,
            route => *route,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    #[test]
    fn a_path_is_found_in_each_form_of_a_target() {
        let routes = Routes::of(&Config::default());
        for (target, route) in [
            ("/ws", Some(Route::WebSocket)),
            ("/websocket", Some(Route::WebSocket)),
            ("/ws/", Some(Route::WebSocket)),
            ("/ws?a=/b", Some(Route::WebSocket)),
            ("/ws/?a=http://b/c", Some(Route::WebSocket)),
            ("http://example.org/ws", Some(Route::WebSocket)),
            ("https://example.org:443/ws?x", Some(Route::WebSocket)),
            ("/.well-known/host-meta", Some(Route::HostMeta(Format::Xml))),
            (
                "/.well-known/host-meta.json",
                Some(Route::HostMeta(Format::Json)),
            ),
            ("/.well-known/acme", None),
            ("/", None),
            ("*", None),
            ("", None),
            ("//ws", Some(Route::WebSocket)),
            ("/%77s", Some(Route::WebSocket)),
            ("/./ws", Some(Route::WebSocket)),
            ("/x/../ws", Some(Route::WebSocket)),
            ("/x/%2e%2e/ws", Some(Route::WebSocket)),
            ("/%2fws%2f", Some(Route::WebSocket)),
            ("/ws/more", Some(Route::WebSocket)),
            ("http://example.org//ws", Some(Route::WebSocket)),
            ("/bosh", Some(Route::Bosh)),
            ("/http-bind/?x", Some(Route::Bosh)),
            ("//%62osh//", Some(Route::Bosh)),
            ("/bosh/more", Some(Route::Nothing)),
            ("/bosh%2fmore", Some(Route::Nothing)),
            ("/bosh/more/..", Some(Route::Bosh)),
            (
                "/.well-known//host-meta/",
                Some(Route::HostMeta(Format::Xml)),
            ),
            (
                "/%2ewell-known/host-meta%2ejson",
                Some(Route::HostMeta(Format::Json)),
            ),
            ("/.well-known/host-meta/more", Some(Route::Nothing)),
            ("/WS", None),
            ("/ws2", None),
            ("/ws;a", None),
            ("/%2577s", None),
            ("/ws/..", None),
            ("/bosh2", None),
            ("/.well-known/host-meta.jsonp", None),
            ("/more/ws", None),
            ("/a?b=http://c/ws", None),
            ("/a/http://c/ws", None),
            ("http://example.org", None),
            ("example.org:443", None),
        ] {
            assert_eq!(routes.find(target), route, "{target}");
        }
    }

    #[test]
    fn the_longest_path_has_it() {
        let mut config = Config::default();
        config.websocket.paths = vec!["/xmpp".to_owned(), "/xmpp/bosh/ws".to_owned()];
        config.bosh.paths = vec!["/xmpp//%62osh".to_owned()];
        let routes = Routes::of(&config);
        for (target, route) in [
            ("/xmpp", Route::WebSocket),
            ("/xmpp/more", Route::WebSocket),
            ("/xmpp/bosh", Route::Bosh),
            ("/xmpp/bosh/more", Route::Nothing),
            ("/xmpp/bosh/ws", Route::WebSocket),
        ] {
            assert_eq!(routes.find(target), Some(route), "{target}");
        }
    }

    #[test]
    fn what_is_switched_off_goes_on_to_ejabberd() {
        let mut off = Config::default();
        off.websocket.enabled = false;
        off.host_meta.enabled = false;
        assert_eq!(Routes::of(&off).find("/ws"), None);
        assert_eq!(Routes::of(&off).find("/.well-known/host-meta"), None);
        let mut v1 = Config::default();
        v1.trunk.protocol = Protocol::V1;
        assert_eq!(Routes::of(&v1).find("/ws"), None);
    }
}
