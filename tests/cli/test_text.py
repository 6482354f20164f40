"""What people read: durations, times, and text from anywhere made harmless."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import options, text
from holdfast.cli.options import Duration
from tests.builders import NOW


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_that_steers_a_terminal_gets_through(content: str) -> None:
    shown = text.visible(content)
    assert not [each for each in shown if ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 or 0xD800 <= ord(each) < 0xE000]
    shown.encode()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("plain", "plain"),
        ("größe 雪", "größe 雪"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb", "a\\x0ab"),
        (b"bad\xff".decode("utf-8", "surrogateescape"), "bad\\xff"),
        ("left\u202eright", "left\\u202eright"),
    ],
)
def test_text_is_shown_as_what_it_is(content: str, shown: str) -> None:
    assert text.visible(content) == shown


def test_line_breaks_stay_where_they_are_asked_for() -> None:
    assert text.visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0d"


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (timedelta(seconds=5), "5 s"),
        (timedelta(minutes=12, seconds=59), "12 min"),
        (timedelta(hours=3), "3 h"),
        (timedelta(hours=3, minutes=5), "3 h 5 min"),
        (timedelta(hours=30), "30 h"),
        (timedelta(days=3, hours=2), "3 d 2 h"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_durations_are_short(duration: timedelta, said: str) -> None:
    assert text.span(duration) == said


def test_the_past_and_the_future_are_told_apart() -> None:
    assert text.ago(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert text.ago(NOW + timedelta(minutes=5), NOW) == "in 5 min"


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=1000)))
def test_a_written_duration_reads_as_itself(duration: timedelta) -> None:
    whole = timedelta(seconds=int(duration.total_seconds()))
    assert Duration().convert(options.written(whole), None, None) == whole


def test_counts_have_their_noun() -> None:
    assert [text.counted(number, "file") for number in (0, 1, 1234)] == ["0 files", "1 file", "1,234 files"]


def test_a_sentence_ends_once() -> None:
    assert [text.ended(each) for each in ("a", "a.", "a?", "", "a ")] == ["a.", "a.", "a?", "", "a."]
