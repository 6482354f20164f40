"""What every program of ours can rely on: bounded time and output, nothing left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.engines import program
from holdfast.engines.program import Finished, Heard, Limits, Program
from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind
from tests.support.processes import children

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


def python(
    code: str, *arguments: str, total: timedelta = MINUTE, inactivity: timedelta = MINUTE, secrets: tuple[str, ...] = ()
) -> Program:
    return Program(
        argv=(sys.executable, "-u", "-c", code, *arguments),
        environment={"PATH": os.defpath, "SEEN": "1"},
        directory=Path("/"),
        limits=Limits(total=total, inactivity=inactivity),
        secrets=secrets,
    )


def test_a_log_names_what_a_program_is_to_do_and_none_of_its_settings() -> None:
    argv = ("/bin/restic", "-o", "s3.region=eu", "--repo=/r", "backup", "--json", "/data")
    program = Program(argv=argv, environment={}, directory=Path("/"), limits=Limits(total=MINUTE, inactivity=MINUTE))
    assert program.command == "restic backup /data"


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


async def until(condition: object) -> None:
    """Return when `condition()` is true; fail after ten seconds."""
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  another process sends us no event
            await asyncio.sleep(0.01)


async def test_output_and_exit_code_are_returned() -> None:
    code = "import sys; print('out'); print('one\\rtwo\\n\\nthree', file=sys.stderr); sys.exit(3)"
    assert await program.run(python(code)) == Finished(exit_code=3, stdout=b"out\n", stderr=("one", "two", "three"))


async def test_only_the_given_environment_is_seen_and_stdin_is_empty() -> None:
    os.environ["HOLDFAST_TEST_SECRET"] = "leaks"
    try:
        code = "import os, sys; print(sorted(os.environ)); print(repr(sys.stdin.read()))"
        finished = await program.run(python(code))
    finally:
        del os.environ["HOLDFAST_TEST_SECRET"]
    names, stdin = finished.stdout.decode().splitlines()
    assert "SEEN" in names
    assert "HOLDFAST" not in names
    assert stdin == "''"


async def test_inherited_keeps_no_secret() -> None:
    given = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "HOLDFAST_PASSWORD": "p", "HTTPS_PROXY": "http://proxy"}
    assert program.inherited(given) == {"PATH": "/bin", "HTTPS_PROXY": "http://proxy"}


async def test_secrets_are_redacted_in_stderr() -> None:
    finished = await program.run(
        python("import sys; print('key hunter2 refused', file=sys.stderr)", secrets=("hunter2",))
    )
    assert finished.stderr == ("key *** refused",)


async def test_only_the_end_of_stderr_is_kept() -> None:
    finished = await program.run(python("import sys\nfor n in range(1000): print(n, file=sys.stderr)"))
    assert finished.stderr == tuple(str(number) for number in range(800, 1000))


async def test_names_that_are_not_utf8_survive_both_ways() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    code = "import os, sys; sys.stderr.buffer.write(os.fsencode(sys.argv[1]))"
    assert (await program.run(python(code, name))).stderr == (name,)


async def test_a_line_without_end_is_cut_and_the_next_one_is_whole() -> None:
    finished = await program.run(python("import sys; sys.stderr.write('x' * 10_000_000 + '\\nend\\n')"))
    assert [len(line) for line in finished.stderr] == [program.LINE_LIMIT, 3]


async def test_lines_are_heard_and_only_text_is_kept() -> None:
    def listen(line: str) -> Heard:
        return Heard.PROGRESS if line.startswith("%") else Heard.TEXT

    code = "import sys\nfor f in (sys.stdout, sys.stderr): print('%1\\r%2\\rsaved', file=f)"
    finished = await program.run(python(code), on_stdout=listen, on_stderr=listen)
    assert finished == Finished(exit_code=0, stdout=b"saved\n", stderr=("saved",))


async def test_too_much_output_is_refused() -> None:
    with pytest.raises(EngineFailure, match="printed more than 1000 bytes"):
        await program.run(python("print('x' * 2000)"), stdout_limit=1000)


async def test_a_program_that_is_not_there_is_named() -> None:
    missing = Program(
        argv=("no-such-program",),
        environment={"PATH": "/nowhere"},
        directory=Path("/"),
        limits=Limits(total=MINUTE, inactivity=MINUTE),
    )
    with pytest.raises(EngineFailure, match="no-such-program is not installed") as raised:
        await program.run(missing)
    assert raised.value.failure.kind is FailureKind.NO_PROGRAM


async def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "kopia").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "kopia").chmod(0o755)
    broken = Program(
        argv=("kopia",),
        environment={"PATH": str(tmp_path)},
        directory=Path("/"),
        limits=Limits(total=MINUTE, inactivity=MINUTE),
    )
    with pytest.raises(EngineFailure, match=r"kopia cannot be started: .*[Ee]xec format") as raised:
        await program.run(broken)
    assert raised.value.failure.kind is FailureKind.NO_PROGRAM


async def test_an_argument_that_no_program_can_get_is_a_bad_order() -> None:
    with pytest.raises(EngineFailure) as raised:
        await program.run(python("pass", "a\0b"))
    assert raised.value.failure.kind is FailureKind.BAD_ORDER


async def test_a_silent_program_is_stopped() -> None:
    with pytest.raises(EngineFailure, match="showed no progress") as raised:
        await program.run(python("import time; time.sleep(60)", inactivity=timedelta(milliseconds=300)))
    assert raised.value.failure.kind is FailureKind.TIMEOUT


async def test_status_lines_without_news_do_not_count_as_progress() -> None:
    code = "import sys, time\nwhile True: print('\\rstill 0 files', end='', file=sys.stderr); time.sleep(0.05)"
    with pytest.raises(EngineFailure, match="showed no progress"):
        await program.run(python(code, inactivity=timedelta(milliseconds=500)), on_stderr=lambda _line: Heard.NOTHING)


async def test_a_program_that_only_talks_is_stopped_at_its_deadline() -> None:
    code = "import time\nwhile True: print('working'); time.sleep(0.05)"
    with pytest.raises(EngineFailure, match="did not end within 1 s"):
        await program.run(python(code, total=timedelta(seconds=1)))


async def test_a_program_that_ignores_term_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "GRACE", timedelta(milliseconds=300))
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid()); time.sleep(60)"
    pids: list[int] = []

    def listen(line: str) -> Heard:
        pids.append(int(line))
        return Heard.TEXT

    with pytest.raises(EngineFailure, match="showed no progress"):
        await program.run(python(code, inactivity=timedelta(seconds=1)), on_stdout=listen)
    await until(lambda: not is_running(pids[0]))


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("times", [1, 2])
async def test_cancelling_while_it_starts_leaves_nothing(turns: int, times: int) -> None:
    before = children()
    task = asyncio.create_task(program.run(python("import time; time.sleep(60)")))
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: children() == before)


async def test_cancelling_twice_ends_even_one_that_ignores_it() -> None:
    before = children()
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    lines: list[str] = []

    def listen(line: str) -> Heard:
        lines.append(line)
        return Heard.TEXT

    task = asyncio.create_task(program.run(python(code), on_stdout=listen))
    await until(lambda: lines)
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert children() == before


async def test_cancelling_stops_the_program_and_its_children() -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(os.getpid(), child.pid); time.sleep(60)"
    )
    pids: list[int] = []

    def listen(line: str) -> Heard:
        pids.extend(int(each) for each in line.split())
        return Heard.TEXT

    task = asyncio.ensure_future(program.run(python(code), on_stdout=listen))
    await until(lambda: pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(is_running(pid) for pid in pids))


async def test_a_grandchild_that_holds_the_pipe_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_LINGER", timedelta(milliseconds=300))
    code = "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    finished = await program.run(python(code))
    assert finished.exit_code == 0
    await until(lambda: not is_running(int(finished.stdout)))


async def test_a_program_that_closes_stdout_early_is_waited_for() -> None:
    code = "import os, sys, time; os.close(1); time.sleep(0.3); print('late', file=sys.stderr); sys.exit(4)"
    finished = await program.run(python(code))
    assert (finished.exit_code, finished.stderr) == (4, ("late",))


async def test_a_slow_reader_makes_the_program_wait() -> None:
    size = 64 << 20
    code = f"import sys; sys.stdout.buffer.write(b'x' * {size})"
    received = 0
    async with program.started(python(code, inactivity=timedelta(seconds=1))) as running:
        async for chunk in running.chunks():
            if not received:
                await asyncio.sleep(1.2)  # longer than the program may be silent
                assert running.buffered < 16 << 20
            received += len(chunk)
        assert (await running.finished()).exit_code == 0
    assert received == size


async def test_leaving_a_stream_early_stops_the_program() -> None:
    code = "import os, sys\nprint(os.getpid())\nwhile True: print('x' * 1000)"

    async def output() -> AsyncGenerator[bytes, None]:
        async with program.started(python(code)) as running:
            async for chunk in running.chunks():
                yield chunk

    stream = output()
    pid = int((await anext(stream)).split()[0])
    await stream.aclose()
    await until(lambda: not is_running(pid))


async def test_a_listener_that_fails_is_heard() -> None:
    def listen(_line: str) -> Heard:
        raise LookupError("broken listener")

    with pytest.raises(LookupError, match="broken listener"):
        await program.run(python("import sys, time; print('x', file=sys.stderr); time.sleep(60)"), on_stderr=listen)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of the killed")
async def test_the_program_dies_with_us_when_we_are_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from datetime import timedelta as t\n"
        "from pathlib import Path\n"
        "from holdfast.engines import program\n"
        "inner = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "p = program.Program(argv=(sys.executable, '-c', inner), environment={}, directory=Path('/'),\n"
        "                    limits=program.Limits(total=t(60), inactivity=t(60)))\n"
        "asyncio.run(program.run(p, on_stdout=lambda line: print(line, flush=True) or program.Heard.TEXT))\n"
    )
    mover = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert mover.stdout is not None
    with contextlib.closing(mover.stdout):
        pid = int(mover.stdout.readline())
        assert is_running(pid)
        os.kill(mover.pid, signal.SIGKILL)
        mover.wait()
        began = time.monotonic()
        await until(lambda: not is_running(pid))
        assert time.monotonic() - began < 5
