"""How old objects are goes by our clock."""

from datetime import datetime, timedelta

import msgspec

from holdfast.controllers.world import FORGOTTEN, Met
from holdfast.kube import objects
from tests.builders import NOW


def item(uid: str) -> objects.Job:
    meta = {
        "name": uid,
        "namespace": "n",
        "uid": uid,
        "resourceVersion": "1",
        "creationTimestamp": "2000-01-01T00:00:00Z",
    }
    return msgspec.convert({"metadata": meta}, objects.Job, strict=False)


def test_an_object_is_as_old_as_we_know_it_and_what_nobody_asks_for_is_forgotten() -> None:
    now: list[datetime] = [NOW]
    met = Met(lambda: now[-1])
    assert met.since(item("a")) == met.since(item("b")) == NOW
    for _ in range(4):
        now.append(now[-1] + FORGOTTEN / 2)
        assert met.since(item("a")) == NOW
        met.since(item(f"other-{len(now)}"))
    assert met.since(item("b")) == now[-1]
    now.append(now[-1] + timedelta(seconds=1))
    assert met.since(item("a")) == NOW
