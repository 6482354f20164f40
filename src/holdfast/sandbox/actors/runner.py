"""The kubelet: a scheduled pod becomes a process, and what happens to the process becomes the pod's status."""

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from holdfast.sandbox.actors import containers, reporting
from holdfast.sandbox.actors.containers import CannotStart, Home
from holdfast.sandbox.actors.processes import Launcher, Probe, Running
from holdfast.sandbox.actors.provisioner import remove_tree
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

MESSAGE_BYTES: Final = 4096
LOG_TAIL_BYTES: Final = 2048
RESTART: Final = timedelta(seconds=10)
_LONGEST_RESTART: Final = timedelta(minutes=5)
_TRY_AGAIN: Final = timedelta(seconds=1)
_NETWORK: Final = ipaddress.IPv4Network("127.64.0.0/10")
_SOURCE: Final = "kubelet"
_LOST: Final = 137


@dataclass(kw_only=True)
class _Life:
    """One pod on this node: its process, and when the next thing is due."""

    home: Home
    running: Running | None = None
    started: datetime | None = None
    restarts: int = 0
    not_before: datetime | None = None
    terminated: bool = False
    killed: bool = False
    probe: Probe | None = None
    next_probe: datetime | None = None
    ready: bool = False


@dataclass(kw_only=True)
class Runner:
    """Runs the pods that are placed on the one node. `environment` is given to every process."""

    store: Store
    launcher: Launcher
    directory: Path
    wake: Callable[[], None]
    environment: dict[str, str]
    restart: timedelta = RESTART
    lives: dict[str, _Life] = field(default_factory=dict)
    # Begun anywhere: two sandboxes on one machine share the loopback network.
    last_address: int = field(default_factory=lambda: secrets.randbelow(_NETWORK.num_addresses - 2))

    def step(self) -> float | None:
        pods = {pod["metadata"]["uid"]: pod for pod in self.store.all("Pod") if at(pod, "spec", "nodeName")}
        for uid in [uid for uid in self.lives if uid not in pods]:
            self._forget(uid)
        due = [self._sync(uid, pod) for uid, pod in pods.items()]
        now = self.store.now()
        return min((max(0.0, (each - now).total_seconds()) for each in due if each is not None), default=None)

    def pid(self, namespace: str, name: str) -> int | None:
        """Return the process id of a pod's command, or None while it has none."""
        pod = self.store.find(self.store.kind_named("Pod"), namespace, name)
        life = self.lives.get(pod["metadata"]["uid"]) if pod is not None else None
        return life.running.pid if life is not None and life.running is not None else None

    def log(self, uid: str) -> Path:
        """Return the file that holds the pod's output; it need not be there."""
        return Home(path=self.directory / uid).log

    def stop(self) -> None:
        """Kill every process, as when a machine is switched off; the objects stay as they are."""
        running = [life.running for life in self.lives.values() if life.running is not None]
        for each in running:
            each.kill()
        for each in running:
            each.wait()
        self.lives.clear()

    def _sync(self, uid: str, pod: Json) -> datetime | None:
        life = self.lives.get(uid)
        if life is None:
            life = self.lives[uid] = _Life(home=Home(path=self.directory / uid), restarts=_restarts(pod))
            if at(pod, "status", "phase") == "Running":  # its process ended with an earlier run of the sandbox
                self._ended(pod, life, _LOST)
                return self.store.now()
        if "deletionTimestamp" in pod["metadata"]:
            return self._end(pod, life)
        if at(pod, "status", "phase") in ("Succeeded", "Failed"):
            return None
        if life.running is None:
            return self._start(pod, life)
        code = life.running.exit_code()
        if code is not None:
            self._ended(pod, life, code)
            return self.store.now()
        return self._check_ready(pod, life)

    def _start(self, pod: Json, life: _Life) -> datetime | None:
        now = self.store.now()
        if life.not_before is not None and now < life.not_before:
            return life.not_before
        pod = self._with_address(pod)
        life.home.termination.unlink(missing_ok=True)
        try:
            container = containers.prepare(self.store, pod, life.home, self._base(pod))
            life.home.termination.touch()
            life.running = self.launcher.start(container, self.wake)
        except CannotStart as problem:
            self._waiting(pod, life, problem.reason, problem.message)
            life.not_before = now + _TRY_AGAIN
            return life.not_before
        life.started, life.ready, life.probe, life.next_probe = now, _probe(pod) is None, None, None
        self._say(pod, "Started", f"Started container {pod['spec']['containers'][0]['name']}")
        state = {"running": {"startedAt": reporting.stamp(now)}}
        self._report(pod, life, "Running", state)
        return self._check_ready(pod, life)

    def _base(self, pod: Json) -> dict[str, str]:
        """Return what every process gets; the way to the API only where a pod would get a token."""
        if pod["spec"].get("automountServiceAccountToken") is not False:
            return dict(self.environment)
        return {key: value for key, value in self.environment.items() if key != "KUBECONFIG"}

    def _ended(self, pod: Json, life: _Life, code: int) -> None:
        now = self.store.now()
        started = at(_container_status(pod), "state", "running", "startedAt") or reporting.stamp(now)
        terminated: Json = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": started,
            "finishedAt": reporting.stamp(now),
        }
        message = _message(pod, life.home, code)
        if message:
            terminated["message"] = message
        life.running, life.ready, life.probe = None, False, None
        policy = pod["spec"]["restartPolicy"]
        if policy == "Always" or (policy == "OnFailure" and code != 0):
            lived = now - (life.started or now)
            life.restarts = life.restarts + 1
            pause = min(self.restart * (1 << min(life.restarts - 1, 5)), _LONGEST_RESTART)
            life.not_before = now + (self.restart if lived > _LONGEST_RESTART * 2 else pause)
            waiting = {"reason": "CrashLoopBackOff", "message": f"back-off restarting failed container after {code}"}
            self._report(pod, life, "Running", {"waiting": waiting}, last={"terminated": terminated})
            return
        self._report(pod, life, "Succeeded" if code == 0 else "Failed", {"terminated": terminated})

    def _end(self, pod: Json, life: _Life) -> datetime | None:
        """End the process of a pod that is being deleted; once it has gone, let the pod go."""
        if life.running is None or life.running.exit_code() is not None:
            life.running = None
            meta = pod["metadata"]
            deletion = Deletion(grace_seconds=0, uid=meta["uid"])
            self.store.delete(self.store.kind_named("Pod"), meta["namespace"], meta["name"], deletion)
            if self.store.find(self.store.kind_named("Pod"), meta["namespace"], meta["name"]) is None:
                self._forget(meta["uid"])
            return None
        if not life.terminated:
            life.terminated = True
            life.running.terminate()
            self._say(pod, "Killing", "Stopping container")
        end = reporting.parsed(pod["metadata"]["deletionTimestamp"])
        if self.store.now() < end:
            return end
        if not life.killed:
            life.killed = True
            life.running.kill()
        return None

    def _forget(self, uid: str) -> None:
        life = self.lives.pop(uid, None)
        if life is None:
            return
        if life.running is not None:
            life.running.kill()
        remove_tree(life.home.path)

    def _check_ready(self, pod: Json, life: _Life) -> datetime | None:
        """Ask the container when it is time to; return when to look again."""
        probe = _probe(pod)
        if probe is None:
            return None
        now = self.store.now()
        if life.probe is not None:
            answer = life.probe.answer()
            if answer is None:
                return None  # the launcher wakes us
            life.probe = None
            life.next_probe = now + timedelta(seconds=probe.get("periodSeconds") or 10)
            if not answer and not life.ready:
                life.next_probe = now + _TRY_AGAIN  # a start is asked about more often than a run
            if answer != life.ready:
                life.ready = answer
                started = at(_container_status(pod), "state") or {}
                self._report(pod, life, "Running", started)
        if life.next_probe is None or now >= life.next_probe:
            life.probe = self.launcher.probe(_url(pod, probe), self.wake)
            return None
        return life.next_probe

    def _with_address(self, pod: Json) -> Json:
        if at(pod, "status", "podIP"):
            return pod
        used = {at(each, "status", "podIP") for each in self.store.all("Pod")}
        while True:
            self.last_address = self.last_address % (_NETWORK.num_addresses - 2) + 1
            address = str(_NETWORK[self.last_address])
            if address not in used:
                break
        status = {"podIP": address, "podIPs": [{"ip": address}], "hostIP": "127.0.0.1"}
        return self._amend(pod, {**status, "startTime": reporting.stamp(self.store.now())})

    def _waiting(self, pod: Json, life: _Life, reason: str, message: str) -> None:
        phase = "Running" if life.restarts else "Pending"
        last = at(_container_status(pod), "lastState")
        unmounted = reason == "FailedMount"  # which is told by an Event alone
        state = {"reason": "ContainerCreating"} if unmounted else {"reason": reason, "message": message}
        self._report(pod, life, phase, {"waiting": state}, last=last)
        self._say(pod, reason if unmounted else "Failed", message, warning=True)

    def _report(self, pod: Json, life: _Life, phase: str, state: Json, last: Json | None = None) -> None:
        container = pod["spec"]["containers"][0]
        now = self.store.now()
        status: Json = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": life.ready,
            "started": "running" in state,
            "restartCount": life.restarts,
            "state": state,
            "lastState": last if last is not None else at(_container_status(pod), "lastState") or {},
        }
        marked = pod
        for name in ("Initialized", "ContainersReady", "Ready"):
            holds = name == "Initialized" or life.ready
            reason = "" if holds or phase != "Succeeded" else "PodCompleted"
            conditions = reporting.with_condition(marked, now, name=name, status=str(holds), reason=reason)
            marked = {**marked, "status": {**marked["status"], "conditions": conditions}}
        self._amend(
            pod,
            {"phase": phase, "containerStatuses": [status], "conditions": marked["status"]["conditions"]},
        )

    def _amend(self, pod: Json, status: Json) -> Json:
        meta = pod["metadata"]
        changed = self.store.amend(self.store.kind_named("Pod"), meta["namespace"], meta["name"], {"status": status})
        return changed if changed is not None else pod

    def _say(self, pod: Json, reason: str, message: str, *, warning: bool = False) -> None:
        reporting.event(self.store, pod, "Pod", reason=reason, message=message, source=_SOURCE, warning=warning)


def _message(pod: Json, home: Home, code: int) -> str:
    """Return what the container left as its last words."""
    try:
        said = home.termination.read_bytes()[:MESSAGE_BYTES]
    except OSError:
        said = b""
    policy = pod["spec"]["containers"][0]["terminationMessagePolicy"]
    if not said and code != 0 and policy == "FallbackToLogsOnError" and home.log.exists():
        said = home.log.read_bytes()[-LOG_TAIL_BYTES:]
    return said.decode("utf-8", "replace")


def _container_status(pod: Json) -> Json | None:
    statuses = at(pod, "status", "containerStatuses")
    return statuses[0] if statuses else None


def _restarts(pod: Json) -> int:
    return int(at(_container_status(pod), "restartCount") or 0)


def _probe(pod: Json) -> Json | None:
    probe = pod["spec"]["containers"][0].get("readinessProbe")
    return probe if probe is not None and "httpGet" in probe else None


def _url(pod: Json, probe: Json) -> str:
    get, port = probe["httpGet"], probe["httpGet"]["port"]
    named = {each.get("name"): each["containerPort"] for each in pod["spec"]["containers"][0].get("ports") or ()}
    return f"http://{at(pod, 'status', 'podIP')}:{named.get(port, port)}/{str(get.get('path', '')).lstrip('/')}"
