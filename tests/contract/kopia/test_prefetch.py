"""Which small files are asked for ahead of a restore, and in what order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines.kopia import prefetch
from holdfast.engines.kopia.prefetch import Small

FILES = st.lists(
    st.builds(Small, object_id=st.integers(0, 10**9).map(str), size=st.integers(1, prefetch.SMALL)), max_size=2000
)


@given(FILES, st.integers(1, 10**6))
def test_windows_hold_every_file_once_and_in_order(files: list[Small], at_first: int) -> None:
    found = list(prefetch.windows(files, at_first=at_first))
    assert [each for window in found for each in window] == files
    assert all(found)


@given(FILES, st.integers(0, 10**9))
def test_no_more_bytes_are_asked_for_than_the_bound(files: list[Small], bound: int) -> None:
    chosen = prefetch.up_to(files, bound)
    assert list(chosen) == files[: len(chosen)]
    assert sum(each.size for each in chosen) <= bound
    if len(chosen) < len(files):
        assert sum(each.size for each in files[: len(chosen) + 1]) > bound


@pytest.mark.parametrize(("number", "size", "expected"), [(100, 1000, 16), (20_000, 12_288, 58), (1000, 1 << 20, 250)])
def test_a_sample_grows_with_the_bytes(number: int, size: int, expected: int) -> None:
    chosen = prefetch.sample([Small(object_id=str(each), size=size) for each in range(number)])
    assert expected <= len(chosen) <= expected * 1.2
    assert len(set(chosen)) == len(chosen)


def test_a_cautious_start_grows() -> None:
    files = [Small(object_id=str(each), size=1) for each in range(60_000)]
    lengths = [len(window) for window in prefetch.windows(files, at_first=200)]
    assert lengths == [200, 1600, 12_800, 20_000, 20_000, 5400]
