"""What the kernel's own files say."""

import socket
import unittest

from lab import kernel
from lab.kernel import Kernel
from lab.processes import PAGE

SLABINFO = """\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables
TCP                   91    143   2368   13    8 : tunables    0    0    0 : slabdata     11     12      0
filp                1176   1176    192   21    1 : tunables    0    0    0 : slabdata     56     56      0
"""
SOCKSTAT = """\
sockets: used 19
TCP: inuse 7 orphan 0 tw 2 alloc 9 mem 3
UDP: inuse 0 mem 0
"""


class TheKernel(unittest.TestCase):
    def test_a_cache_is_as_large_as_its_slabs(self) -> None:
        self.assertEqual(kernel.caches(SLABINFO), {"TCP": 12 * 8 * PAGE, "filp": 56 * PAGE})

    def test_sockets_and_their_buffers(self) -> None:
        self.assertEqual(kernel.tcp(SOCKSTAT), (7, 3))
        self.assertEqual(kernel.tcp(""), (0, 0))

    def test_sizes_are_bytes(self) -> None:
        self.assertEqual(kernel.sizes("MemTotal:  2 kB\nHugePages_Total:  0\n"), {"MemTotal": 2048})

    def test_what_grew_comes_in_order_without_files(self) -> None:
        start = Kernel(slabs={"TCP": 5, "b": 5})
        now = Kernel(slabs={"TCP": 6, "b": 1, "sock_inode_cache": 9, "proc_inode_cache": 9, "ext4_extent": 1})
        self.assertEqual(list(kernel.growth(now, start).items()), [("sock_inode_cache", 9), ("TCP", 1)])

    def test_this_machine_has_memory_and_sockets(self) -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(100)]
        now = kernel.look()
        for one in listeners:
            one.close()
        self.assertGreater(now.available, 0)
        # Those of other programs come and go meanwhile.
        self.assertGreaterEqual(now.sockets, len(listeners))


if __name__ == "__main__":
    unittest.main()
