//! What a process's death means for the trunk that had it monitored.

use rustler::{Env, LocalPid, Monitor, Resource};

use crate::mailbox::Mailbox;
use crate::resource::TrunkResource;

#[rustler::resource_impl]
impl Resource for TrunkResource {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, env: Env<'a>, pid: LocalPid, _monitor: Monitor) {
        let mut mailbox = Mailbox::of_callback(env);
        megaphone_socket::Trunk::down(self, pid, &mut mailbox);
    }
}
