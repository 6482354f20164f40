from pathlib import Path

import pytest

from tools import places
from tools.progress import SetupError


def test_an_explicit_cache_directory_wins(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    found = places.cache_directory({"HOLDFAST_CACHE": str(chosen), "XDG_CACHE_HOME": "/x", "HOME": str(tmp_path)})
    assert found == chosen
    assert chosen.is_dir()


def test_an_explicit_cache_directory_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SetupError, match=r"HOLDFAST_CACHE=.*file/below cannot be used"):
        places.cache_directory({"HOLDFAST_CACHE": str(file / "below")})


def test_xdg_comes_before_home(tmp_path: Path) -> None:
    both = {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path / "home")}
    assert places.cache_directory(both) == tmp_path / "xdg" / "holdfast"
    assert places.cache_directory({"HOME": str(tmp_path / "home")}) == tmp_path / "home" / ".cache" / "holdfast"


@pytest.mark.parametrize("home", ["", "relative/home", "/dev/null/home"])
def test_without_a_usable_home_the_checkout_holds_the_cache(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "CHECKOUT", tmp_path)
    assert places.cache_directory({"HOME": home}) == tmp_path / ".cache" / "holdfast"
    assert places.cache_directory({}) == tmp_path / ".cache" / "holdfast"


def test_too_little_space_says_how_much_is_needed_and_for_what(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="building kopia needs about 1000000000 MiB"):
        places.need_space(tmp_path, megabytes=10**9, purpose="building kopia")


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    waits: list[str] = []
    for _ in range(2):
        with places.locked(tmp_path / "lock", on_wait=lambda: waits.append("waited")):
            pass
    assert waits == []
