"""A cluster of Ray (https://docs.ray.io), as a crew sees one: machines, models as actors on them, and what these send.

A model is an actor that is put on one node and takes as many of its GPUs as asked; without GPUs one of its CPUs. One
of its threads takes what it is sent; the other does it and yields what comes of it, which Ray streams here. Nothing is
restarted by Ray: who ends is replaced by the crew, which knows what is left to do.
Ray is imported here alone, and only when somebody asks for it.
"""

import logging
import os
import re
import signal
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from textwrap import shorten
from types import ModuleType
from typing import Any

from harness.errors import ClusterError, HarnessError, SettingsError, counted, plain
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.cluster import Came, Event, Lost, Node, Raised
from harness.study.cluster_crew import ClusterCrew
from harness.study.node_model import NodeModel, Task
from harness.study.workers import gpus_per_model

ANSWER_SECONDS = 5.0
"""How long the head of a cluster may take to answer at all."""
THREADS = 2
"""Of a model's process: `serve` has one, `take` the other."""
MOST_HEARD = 64
"""What is said at most that is taken in before it is kept."""
_DETAIL = re.compile(r"(?:Worker exit detail|exit reason|error message|Reason):\s*(.+)")


def check_ray() -> None:
    """Raise a SettingsError where Ray is not installed; it is not imported."""
    if find_spec("ray") is None:
        raise SettingsError(
            "Ray: the package ray is not installed; expected it, on every node of the cluster; pip install "
            "'retrieval-heads[ray]'"
        )


def crew_on_ray(model: AskedModel, work: Sequence[float] = ()) -> ClusterCrew:
    """The model of these settings on the nodes of their cluster; `work` is what layers are dealt out by.

    Raises:
        SettingsError: Ray is not installed, or the cluster's devices and the settings do not go together.
        ClusterError: nobody answers at the address, the cluster cannot be used, or no node has enough GPUs.
        ModelError: the model's files are not here, which those of the nodes are compared with.
    """
    check_ray()
    key = model.run_key
    cluster = RayCluster(model.settings, work, on_gpu=key.device_type == "cuda")
    return ClusterCrew(cluster, key, mixed=model.settings.ray_mixed)


class RayHand:
    """One model, in an actor; `stream` gives what it says."""

    def __init__(self, actor: Any) -> None:
        self.stream: Any = None
        self._actor = actor

    def begin(self) -> None:
        """As the crew asks."""
        with _errors_named():
            self.stream = self._actor.serve.options(num_returns="streaming").remote()

    def send(self, number: int, task: Task, items: Sequence[object], *arguments: object) -> None:
        """As the crew asks."""
        with _errors_named():
            self._actor.take.remote(number, task, list(items), *arguments)

    def dismiss(self) -> None:
        """End its process."""
        self.stream = None
        _ray().kill(self._actor)


class RayCluster:
    """The nodes of a running cluster, or of one that is started here and ends with this process.

    `model` is made on each node from settings and work: `NodeModel`, or what does as it does.
    """

    def __init__(self, settings: Settings, work: Sequence[float], *, on_gpu: bool, model: type = NodeModel) -> None:
        self._settings, self._work, self._on_gpu = settings, tuple(work), on_gpu
        self._hands: set[RayHand] = set()
        self._ours = connect(str(settings.ray))
        self._actor = _ray().remote(model)
        try:
            self._gpus = self._gpus_per_model()
        except HarnessError:
            self.close()
            raise

    @property
    def where(self) -> str:
        """As it was asked for, and the head that this led to."""
        found = f", the cluster at {_ray().get_runtime_context().gcs_address}" if self._settings.ray == "auto" else ""
        return f"Ray at {self._settings.ray}{found}"

    def nodes(self) -> Sequence[Node]:
        """Those that are alive, each under its host's name, or one of its own where several share a host.

        Raises:
            ClusterError: the one node of a local cluster has ended, and no other can join it.
        """
        alive = _alive()
        if not alive and self._ours and self._settings.ray == "local":
            raise ClusterError(
                "Ray at local: its one node has ended, and no other can join; expected it to stay; give the same "
                "command again: finished rows are kept"
            )
        hosts = Counter(each["NodeManagerHostname"] for each in alive)
        found = []
        for each in alive:
            host, number = each["NodeManagerHostname"], each["NodeID"]
            name = host if hosts[host] == 1 else f"{host}-{number[:6]}"
            room = _has(each, "GPU") // self._gpus if self._on_gpu else _has(each, "CPU")
            found.append(Node(number, name, room))
        return found

    def held_by_others(self) -> frozenset[str]:
        """By Ray's tables of what is free and of actors; what others' tasks hold, without an actor, is not known."""
        from ray._private import state

        with _errors_named():
            free = state.available_resources_per_node()  # type: ignore[no-untyped-call]  # Ray's
            ours = _ray().get_runtime_context().get_job_id()
            actors = state.actors(actor_state_name="ALIVE").values()
        what, needed = ("GPU", self._gpus) if self._on_gpu else ("CPU", 1)
        at_work = {each["Address"]["NodeID"] for each in actors if each["JobID"] != ours}
        return frozenset(node for node in at_work if free.get(node, {}).get(what, 0) < needed)

    def hire(self, node: Node) -> RayHand:
        """An actor of the model on this node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        needs = {"num_gpus": self._gpus, "num_cpus": 0} if self._on_gpu else {"num_cpus": 1}
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        with _errors_named():
            options = self._actor.options(**needs, max_restarts=0, max_concurrency=THREADS, scheduling_strategy=there)
            actor = options.remote(self._settings, self._work)
        hand = RayHand(actor)
        self._hands.add(hand)
        return hand

    def listen(self, seconds: float) -> Iterator[tuple[RayHand, Event]]:
        """The next thing from every actor that has one, again and again while there is any."""
        heard = 0
        while heard < MOST_HEARD and (ready := self._ready(0 if heard else seconds)):
            heard += len(ready)
            for hand, stream in ready:
                if hand.stream is not stream:  # let go of while others were listened to
                    continue
                event = _next(stream)
                if not isinstance(event, Came):
                    hand.stream = None
                yield hand, event

    def _ready(self, seconds: float) -> list[tuple[RayHand, Any]]:
        """Who has something to say, and its stream, after at most so many seconds."""
        hands = [hand for hand in self._hands if hand.stream is not None]
        if not hands:
            time.sleep(seconds)
            return []
        streams = [hand.stream for hand in hands]
        with _errors_named():
            ready, _ = _ray().wait(streams, num_returns=1, timeout=seconds)
            if ready and len(streams) > 1:
                ready, _ = _ray().wait(streams, num_returns=len(streams), timeout=0)
        return [(hand, stream) for hand, stream in zip(hands, streams, strict=True) if stream in ready]

    def close(self) -> None:
        """End every actor, and let go of the cluster; one that was started here ends."""
        if not _ray().is_initialized():
            return
        for hand in self._hands:
            hand.dismiss()
        self._hands = set()
        if self._ours:
            _ray().shutdown()

    def _gpus_per_model(self) -> int:
        """As many as were asked for; else one, or all of the smallest node that has any where it is spread over them.

        Raises:
            SettingsError: there are GPUs, but none here, and nobody said that they are meant.
            ClusterError: no node has so many.
        """
        settings, counts = self._settings, [_has(each, "GPU") for each in _alive()]
        wanted = gpus_per_model(settings, min(filter(None, counts), default=1))
        if not self._on_gpu and settings.device_map is None and any(counts):
            raise SettingsError(
                f"Ray at {settings.ray}: the cluster has GPUs and this machine has none; expected to be told "
                "which are meant; set device-map to cuda, or to cpu"
            )
        if self._on_gpu and max(counts, default=0) < wanted:
            raise ClusterError(
                f"Ray at {settings.ray}: no node has more than {counted(max(counts, default=0), 'GPU')}; "
                f"expected {wanted} for a model; set gpus to fewer, or start Ray on larger nodes"
            )
        return wanted


def connect(address: str) -> bool:
    """Connect this process with the cluster, unless it is; whether it is ours to let go of.

    pytest's way to end on SIGTERM stays as it is, meanwhile too.

    Raises:
        ClusterError: nobody answers there, or it is of another version of Ray or Python.
    """
    ray = _ray()
    if ray.is_initialized():
        return False
    where = f"Ray at {address}"
    if address == "auto" and (named := os.environ.get("RAY_ADDRESS")):
        where += f", RAY_ADDRESS={plain(named)}"
    heard, main = signal.getsignal(signal.SIGTERM), threading.current_thread() is threading.main_thread()
    try:
        if address != "local":
            _try_out(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address == "local":
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody outside hears of it
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"{where}: {_first_line(error)}; expected the head of a running cluster, with this Ray and Python; start "
            "one with `ray start --head`, set RAY_AUTH_MODE=token where it asks for its token, or use local"
        ) from None
    except SystemExit as ended:  # what Ray makes of SIGTERM meanwhile
        if main and ended.code == signal.SIGTERM:
            signal.signal(signal.SIGTERM, heard)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, heard)
    return True


def _try_out(address: str) -> None:
    """Raise an OSError where nobody answers: Ray itself would try for minutes."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        host, _, port = canonicalize_bootstrap_address_or_die(address).rpartition(":")
    except ConnectionError:  # asked for with auto; Ray names options of its own
        raise OSError("this machine belongs to no running cluster") from None
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except ValueError:  # what Ray's own variable says
        raise OSError(f"{host}:{port} names no port") from None
    except OSError as error:
        raise OSError(f"{host}:{port} does not answer ({error.strerror or error})") from None


def _next(stream: Any) -> Event:
    """What came, or why nothing did."""
    errors = _ray().exceptions
    with _errors_named():
        try:
            return Came(_ray().get(next(stream)))
        except StopIteration:
            return Lost("it stopped")
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, HarnessError):
                return Raised(cause)
            if isinstance(cause, (errors.ObjectStoreFullError, errors.OutOfDiskError)):
                raise cause from None
            return Lost(f"{type(cause).__name__}: {_first_line(cause)}")
        except (errors.ObjectStoreFullError, errors.OutOfDiskError):
            raise
        except errors.RayError as error:
            return Lost(_why(error))


@contextmanager
def _errors_named() -> Iterator[None]:
    """Raise a ClusterError of one line where Ray's object store has no room, or Ray itself does not answer."""
    errors = _ray().exceptions
    try:
        yield
    except (errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
        raise ClusterError(
            f"cluster: Ray's object store is full ({_first_line(error)}); expected room for the prompts that are on "
            "their way; start Ray with more (ray start --object-store-memory=BYTES), or free the disk that it spills "
            "to; finished rows are kept"
        ) from None
    except errors.RayError as error:
        raise ClusterError(
            f"cluster: {_first_line(error)}; expected its head, and Ray on this machine, to stay; start them, and the "
            "same command: finished rows are kept"
        ) from None


def _why(error: Exception) -> str:
    """What Ray says of a death, without its pages."""
    found = _DETAIL.search(str(error))
    return shorten(plain(found[1]), 300, placeholder=" ...") if found else _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return plain(lines[0])[:300] if lines else type(error).__name__


def _alive() -> list[dict[str, Any]]:
    with _errors_named():
        return [each for each in _ray().nodes() if each["Alive"]]


def _has(node: dict[str, Any], what: str) -> int:
    """How many whole ones of a resource a node has."""
    return int(node["Resources"].get(what, 0))


def _ray() -> ModuleType:
    """Ray, imported without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
    return ray
