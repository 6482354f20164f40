"""One request and what comes of it, faults included: the part that the server and the in-process transport share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from holdfast.sandbox.faults import Broken, Fault, FaultKind, Faults, refusal
from holdfast.sandbox.store import messages, requests
from holdfast.sandbox.store.history import Change
from holdfast.sandbox.store.messages import Answer, Logs, Request, Watching
from holdfast.sandbox.store.refusal import Refusal, bad_request
from holdfast.sandbox.store.store import Store

BOOKMARK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer in parts, as they come. `parts` may raise Broken: then the connection is cut."""

    parts: AsyncIterator[bytes]
    status: int = 200
    content_type: str = "application/json"


def no_logs(logs: Logs) -> AsyncIterator[bytes]:
    raise bad_request(f"pod {logs.namespace}/{logs.name} runs nowhere: nothing runs pods here")


@dataclass(kw_only=True)
class Exchange:
    """Answers requests over a store. `stopping` ends every stream; `logs` gives the lines of a pod's log."""

    store: Store
    faults: Faults = field(default_factory=Faults)
    logs: Callable[[Logs], AsyncIterator[bytes]] = no_logs
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    bookmark_seconds: float = BOOKMARK_SECONDS

    async def respond(self, request: Request) -> Answer | Stream:
        """Return the answer; raise Broken when the client shall get none."""
        fault = self.faults.take(request)
        if fault is None:
            return self._answer(request, None)
        refused = refusal(fault.kind)
        if refused is not None and fault.kind is not FaultKind.GONE_IN_STREAM:
            return requests.refused(refused)
        if fault.kind in (FaultKind.HANG, FaultKind.SLOW):
            await self._pause(fault.seconds)
        if fault.kind in (FaultKind.REFUSE, FaultKind.HANG):
            raise Broken
        answer = self._answer(request, fault)
        if fault.kind is FaultKind.ANSWER_LOST:
            raise Broken
        if fault.kind is FaultKind.CUT and isinstance(answer, Answer):
            return Stream(parts=_half(answer.body), status=answer.status, content_type=answer.content_type)
        return answer

    def _answer(self, request: Request, fault: Fault | None) -> Answer | Stream:
        answer = requests.answer(self.store, request)
        match answer:
            case Watching():
                lines = self._lines(answer)
                return Stream(parts=lines if fault is None else self._faulty(lines, fault))
            case Logs():
                try:
                    return Stream(parts=self.logs(answer), content_type="text/plain; charset=utf-8")
                except Refusal as refused:
                    return requests.refused(refused)
            case Answer():
                return answer

    async def _lines(self, watching: Watching) -> AsyncIterator[bytes]:
        """Yield the lines of a watch until its time is up, it fails or the server stops."""
        woken = asyncio.Event()

        def wake(_: Change) -> None:
            woken.set()

        loop = asyncio.get_running_loop()
        end = loop.time() + watching.timeout_seconds
        due = loop.time() + self.bookmark_seconds
        self.store.listeners.add(wake)
        try:
            for event, item in watching.first:
                yield messages.line(event, item)
                if event == "ERROR":
                    return
            while not self.stopping.is_set():
                woken.clear()
                for event, item in watching.watch.take():
                    yield messages.line(event, item)
                    if event == "ERROR":
                        return
                now = loop.time()
                if now >= min(due, end) and watching.bookmarks:
                    yield watching.bookmark()
                    due = now + self.bookmark_seconds
                if now >= end:
                    return
                await self._wait(woken, min(due, end) - now)
        finally:
            self.store.listeners.discard(wake)

    async def _faulty(self, lines: AsyncIterator[bytes], fault: Fault) -> AsyncIterator[bytes]:
        """Yield what a client of a broken watch gets."""
        if fault.kind is FaultKind.GONE_IN_STREAM:
            gone = refusal(fault.kind)
            assert gone is not None
            yield messages.line("ERROR", gone.status())
            return
        if fault.kind is FaultKind.SILENT:
            await self.stopping.wait()
            return
        async for line in lines:
            match fault.kind:
                case FaultKind.CUT:
                    yield line
                    raise Broken
                case FaultKind.HALF_LINE:
                    yield line[: len(line) // 2]
                    return
                case FaultKind.DUPLICATE:
                    yield line
                    yield line
                case FaultKind.DELAY:
                    await self._pause(fault.seconds)
                    yield line
                case _:
                    yield line

    async def _pause(self, seconds: float) -> None:
        await self._wait(asyncio.Event(), seconds)

    async def _wait(self, woken: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, the time is up or the server stops."""
        waiting = {asyncio.ensure_future(woken.wait()), asyncio.ensure_future(self.stopping.wait())}
        try:
            await asyncio.wait(waiting, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


async def _half(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    raise Broken
