//! Which requests end here, by their paths. All others go on to ejabberd.

use crate::config::{Config, Protocol};
use crate::host_meta::Format;

/// What takes a request that does not go on to ejabberd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// WebSocket (RFC 7395).
    WebSocket,
    /// Where BOSH and WebSocket are (XEP-0156).
    HostMeta(Format),
    /// BOSH (XEP-0124).
    Bosh,
}

/// The paths of what ends here.
#[derive(Debug, Default)]
pub struct Routes(Vec<(String, Route)>);

impl Routes {
    /// As configured. Version 1 of the trunk's protocol carries no sessions, so with it there are none.
    pub fn of(config: &Config) -> Self {
        let mut routes = Vec::new();
        if config.trunk.protocol == Protocol::V1 {
            return Self(routes);
        }
        if config.websocket.enabled {
            let paths = config.websocket.paths.iter();
            routes.extend(paths.map(|path| (path.clone(), Route::WebSocket)));
        }
        if config.host_meta.enabled {
            let host_meta = "/.well-known/host-meta";
            routes.push((host_meta.to_owned(), Route::HostMeta(Format::Xml)));
            routes.push((format!("{host_meta}.json"), Route::HostMeta(Format::Json)));
        }
        if config.bosh.enabled {
            let paths = config.bosh.paths.iter();
            routes.extend(paths.map(|path| (path.clone(), Route::Bosh)));
        }
        Self(routes)
    }

    /// What takes a request with this target; nothing if it goes on to ejabberd.
    pub fn find(&self, target: &str) -> Option<Route> {
        let path = path(target);
        let found = self.0.iter().find(|(other, _)| other == path);
        found.map(|(_, route)| *route)
    }
}

/// A target's path, without a slash at the end: of `/ws/?a=b` and `http://host/ws` it is `/ws`.
fn path(target: &str) -> &str {
    let from_root = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("", |root| &rest[root..])
        }
        _ => target,
    };
    let end = from_root.find(['?', '#']).unwrap_or(from_root.len());
    from_root[..end].trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("/WS", None),
            ("/ws2", None),
            ("/ws/more", None),
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
