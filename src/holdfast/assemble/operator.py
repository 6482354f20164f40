"""The operator in its pod."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

from holdfast.controllers import operator
from holdfast.controllers.loop import SystemClock
from holdfast.engines import log
from holdfast.kube.client import Kube
from holdfast.model.settings import Settings


async def run_operator(kubeconfig: Path | None, context: str | None, settings: Settings) -> None:
    """Be the operator until SIGTERM or SIGINT; raise NotLeading when another one took over."""
    log.to_stderr(())
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells every request
    kube = Kube.connect(kubeconfig, context, settings.namespace)
    identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    work = asyncio.create_task(operator.run(kube, settings, SystemClock(), identity))
    stop_on_signals(work)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        await kube.aclose()


def stop_on_signals(work: "asyncio.Task[Any]") -> None:
    """Cancel `work` on SIGTERM and SIGINT, so that it ends in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
