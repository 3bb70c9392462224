//! The numbers of each ejabberd node.

/// A node as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeNow {
    /// How it is called.
    pub name: String,
    /// What the operator lets it do.
    pub state: &'static str,
    /// Whether new sessions may come to it.
    pub is_usable: bool,
    /// Whether it is ejected.
    pub is_ejected: bool,
    /// How often it was.
    pub ejections: u64,
    /// Its trunks that take connections.
    pub trunks: u64,
    /// Its sessions.
    pub sessions: u64,
    /// Those of them that are to move to other trunks.
    pub leaving: u64,
    /// Its HTTP connections.
    pub requests: u64,
    /// The part of its weight that it has, from 0 to 1.
    pub share: f64,
    /// The logins that it has to answer.
    pub logins_running: u64,
    /// How many it may have; none for any number.
    pub login_limit: Option<u64>,
}
