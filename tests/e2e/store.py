"""An object store that pods reach, through doors that behave as a test says: at the address of the cluster's bridge."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.cluster import places
from tests.support.misbehaving import Misbehaviour, Proxy, every_request, misbehaving
from tests.support.s3 import S3Server, running_server

TRICKLE: Final = 64 << 10  # bytes a second: a volume of some megabytes is restored for minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A way to the store; what is told to it holds from then on."""

    proxy: Proxy
    portal: BlockingPortal

    @property
    def endpoint(self) -> str:
        return self.proxy.endpoint

    def be(self, mode: Misbehaviour) -> None:
        self.portal.call(self.proxy.be, mode)

    def pace(self, bytes_per_second: int | None, *, of: Callable[[bytes], bool] = every_request) -> None:
        self.portal.call(lambda: self.proxy.pace(bytes_per_second, of=of))


def is_of_a_pack(head: bytes) -> bool:
    """Tell whether a request is for the content of files, as kopia stores it."""
    target = head.split(b" ", 2)[1]
    return head.startswith(b"GET ") and b"/kopia/p" in target


@contextlib.contextmanager
def opened(directory: Path, doors: int = 1) -> Iterator[tuple[S3Server, tuple[Door, ...]]]:
    """Run a store in an empty directory; yield it and so many doors to it, each with an endpoint of its own."""
    with running_server(directory) as server, start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        proxies = [
            stack.enter_context(portal.wrap_async_context_manager(misbehaving(server.endpoint, places.NODE_ADDRESS)))
            for _ in range(doors)
        ]
        yield server, tuple(Door(proxy=each, portal=portal) for each in proxies)
