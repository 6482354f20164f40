"""Objects are read exactly or refused, with every problem, its path and what to write instead."""

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kube import objects, parse
from holdfast.model.claim import ClaimPhase, ClaimRef, DataSource, Owner
from tests.support.chaos_api import claim, meta


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5Gi", 5 * 2**30),
        ("1500M", 1_500_000_000),
        ("1.5Gi", 3 * 2**29),
        ("0.1Ki", 103),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", 2),
        ("128974848", 128_974_848),
        ("129e6", 129_000_000),
        ("100m", 1),
        ("1n", 1),
        ("0", 0),
        ("5.", 5),
        (".5k", 500),
        ("+2Mi", 2**21),
        ("9007199254740993", 9_007_199_254_740_993),
    ],
)
def test_quantities_are_exact(text: str, size: int) -> None:
    assert parse.quantity(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "5gi", "5 Gi", "5GiB", "1e", "1e3Ki", "0x10", "1,5Gi", "NaN", "١Gi", "5K"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse.quantity(text)


@given(number=st.decimals(0, 10**12, places=9), suffix=st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T"]))
def test_decimal_quantities_agree_with_decimal_arithmetic(number: Decimal, suffix: str) -> None:
    power = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}[suffix]
    exact = number.scaleb(power).to_integral_value(rounding=ROUND_CEILING)
    assert parse.quantity(f"{number:f}{suffix}") == int(exact)
    assert parse.quantity(f"{number:f}e{power}") == int(exact)


@given(number=st.integers(0, 2**63), power=st.integers(1, 6))
def test_binary_quantities_are_shifts(number: int, power: int) -> None:
    assert parse.quantity(f"{number}{'KMGTPE'[power - 1]}i") == number << (10 * power)


def read_claim(**changes: Any) -> objects.PersistentVolumeClaim:
    return msgspec.convert(claim("data", 3) | changes, objects.PersistentVolumeClaim)


def test_a_claim_is_read_whole() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u2", "controller": True}
    read = parse.claim(
        read_claim(
            metadata=meta(
                "data",
                3,
                labels={"backup": "hourly"},
                annotations={"volume.kubernetes.io/selected-node": "n1"},
                ownerReferences=[owner],
                deletionTimestamp="2026-11-25T04:00:00Z",
            ),
            spec={
                "accessModes": ["ReadWriteOnce"],
                "dataSource": {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"},
                "dataSourceRef": {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"},
                "resources": {"requests": {"storage": "5Gi"}},
                "selector": {"matchLabels": {}},
                "storageClassName": "fast",
                "volumeMode": "Block",
                "volumeName": "pv1",
            },
            status={"phase": "Bound", "capacity": {"storage": "6Gi"}},
        )
    )
    assert read.ref == ClaimRef(namespace="app", name="data")
    assert read.uid == "uid-data"
    assert read.created == datetime(2026, 11, 25, 3, tzinfo=UTC)
    assert read.labels == {"backup": "hourly"}
    assert read.phase is ClaimPhase.BOUND
    assert (read.storage_class, read.access_modes, read.volume_mode) == ("fast", ("ReadWriteOnce",), "Block")
    assert (read.requested_bytes, read.capacity_bytes) == (5 * 2**30, 6 * 2**30)
    assert (read.volume_name, read.selected_node) == ("pv1", "n1")
    assert read.source == DataSource(group="holdfast.dev", kind="Restore", name="auto")
    assert read.owners == (Owner(api_version="apps/v1", kind="StatefulSet", name="db", uid="u2", controller=True),)
    assert read.has_selector
    assert read.deleting


def test_a_bare_claim_says_nothing_that_was_not_written() -> None:
    read = parse.claim(read_claim())
    assert (read.storage_class, read.capacity_bytes, read.volume_name, read.source) == (None, None, None, None)
    assert (read.labels, read.annotations, read.owners, read.selected_node) == ({}, {}, (), None)
    assert (read.volume_mode, read.has_selector, read.deleting) == ("Filesystem", False, False)


@pytest.mark.parametrize(
    "changes",
    [{"status": {}}, {"status": None}, {"status": {"phase": "Dreaming"}}, {"spec": {}}, {"spec": {"resources": {}}}],
)
def test_a_claim_that_lacks_what_every_claim_has_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse.claim(read_claim(**changes))
