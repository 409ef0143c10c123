"""A real cluster of Ray, of two nodes on this machine: the report of one process, whatever is killed meanwhile."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray_kills
from ray_kills import Study, TwoNodes

from harness import __version__
from harness.cli import main
from harness.demo import MODEL_FOLDER
from harness.errors import ClusterError, SettingsError
from harness.settings import Settings
from harness.study import ray_cluster
from harness.study.asked_model import AskedModel
from harness.study.cluster_crew import Order
from harness.study.ray_cluster import RayCluster, crew_on_ray

pytest.importorskip("ray", reason="Ray is not installed: pip install 'retrieval-heads[ray]'")
ROWS = 27


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with ray_kills.two_nodes() as made:
        yield made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The main job of the demo without Ray."""
    study = Study(tmp_path_factory.mktemp("alone"), ROWS)
    output, _ = study.start().communicate()
    assert "45 passed" in output
    return study


def test_killed_in_every_part_it_gives_the_report_of_one_process(
    cluster: TwoNodes, alone: Study, tmp_path: Path
) -> None:
    """A model, a node and the driver; a node joins late. `python -m tests.ray_kills` kills more."""
    study = Study(tmp_path, ROWS)
    tally = ray_kills.run_and_kill(study, cluster, ["model", "node", "driver"], seed=1)
    assert tally.killed.total() == 3
    assert tally.twice == 0
    assert study.said() == alone.said()


def test_identification_gives_the_same_file(
    cluster: TwoNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["identify", "--max-rows=9", "--out"]
    assert main([*asked, str(tmp_path / "alone.json")]) == 0
    assert main([*asked, str(tmp_path / "together.json"), f"--ray={cluster.address}"]) == 0
    assert (tmp_path / "together.json").read_bytes() == (tmp_path / "alone.json").read_bytes()


HOLDER = """
import sys, ray

@ray.remote(num_cpus=1)
class Other:
    def here(self):
        pass

ray.init(address=sys.argv[1], log_to_driver=False)
others = [Other.remote() for _ in range(2)]
ray.get([each.here.remote() for each in others])
print("here", flush=True)
sys.stdin.read()
"""
"""Another program's actors take both CPUs until its input ends."""


def test_who_holds_a_cluster_is_seen(cluster: TwoNodes) -> None:
    held = ": 2 nodes, room for 2 models, all of it held by others now"
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, cluster.address]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder,
        closing(crew_on_ray(AskedModel(Settings(ray=cluster.address)))) as crew,
    ):
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert crew.joined.endswith(": 2 nodes, room for 2 models")
        assert holder.stdout.readline() == "here\n"
        while not crew.joined.endswith(held):
            time.sleep(0.1)
        holder.stdin.close()
        while crew.joined.endswith(held):
            time.sleep(0.1)


UNLIKE = {
    "import harness; harness.__version__ = '0.0.1'": f"retrieval-heads 0.0.1, expected {__version__}",
    "from pathlib import Path; import harness.demo; harness.demo.MODEL_FOLDER = Path(__file__).parent / 'model'": (
        "weights "
    ),
}


def test_nodes_unlike_this_one_are_named_before_their_first_row(cluster: TwoNodes, tmp_path: Path) -> None:
    other = shutil.copytree(MODEL_FOLDER, tmp_path / "weights" / "model") / "model.safetensors"
    other.write_bytes(other.read_bytes()[:-1] + b"!")
    (tmp_path / "version").mkdir()
    with ExitStack() as more:
        for code, folder in zip(UNLIKE, ("version", "weights"), strict=True):
            more.enter_context(cluster.third(code, tmp_path / folder))
        crew = more.enter_context(closing(crew_on_ray(AskedModel(Settings(ray=cluster.address)))))

        def until_both_are_named() -> Iterator[Order | None]:
            while len(crew.notices) < len(UNLIKE):
                yield None

        assert not list(crew.carry_out(until_both_are_named()))
    for said in UNLIKE.values():
        (notice,) = [notice for notice in crew.notices if said in notice]
        assert ": left out: " in notice


def refused(**named: object) -> str:
    settings = Settings(**named)  # type: ignore[arg-type]  # of its types
    with pytest.raises((ClusterError, SettingsError)) as error, closing(crew_on_ray(AskedModel(settings))):
        pass
    return str(error.value)


def test_an_address_where_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = refused(ray=f"127.0.0.1:{port}")
    assert said.startswith(f"Ray at 127.0.0.1:{port}: ")
    assert "does not answer (Connection refused); expected the head of a running cluster" in said


def test_no_cluster_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's words would be its own: that one may set `--address`."""

    def nowhere(address: str) -> str:
        raise ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.")

    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address_or_die", nowhere)
    assert refused(ray="auto").startswith(
        "Ray at auto: this machine belongs to no running cluster; expected the head of a running cluster, with this "
    )


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("elsewhere", "Invalid address format: elsewhere"),
        ("10.0.0.1:", "10.0.0.1: names no port"),
        ("127.0.0.1:9", "does not answer (Connection refused)"),
    ],
)
def test_what_is_wrong_with_rays_own_variable_is_said_of_it(
    named: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    line = refused(ray="auto")
    assert line.startswith(f"Ray at auto, RAY_ADDRESS={named}: ")
    assert f"{said}; expected the head of a running cluster" in line


def test_sigterm_ends_who_joins_a_cluster_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray has a way of its own, which pytest would take for a fault of the plugin."""

    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr(ray_cluster, "_ray", lambda: SimpleNamespace(is_initialized=lambda: False, init=init))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ray_cluster.connect("local")
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nobody_waits_for_a_node_that_cannot_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "connect", lambda _: True)
    monkeypatch.setattr(ray_cluster, "_alive", list)
    with pytest.raises(ClusterError, match="Ray at local: its one node has ended, and no other can join; expected "):
        RayCluster(Settings(ray="local"), (), on_gpu=False).nodes()
    assert RayCluster(Settings(ray="auto"), (), on_gpu=False).nodes() == []


def test_which_cluster_was_joined(cluster: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is Ray's own, for programs that ask for the cluster of their machine."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    for asked, where in (("auto", f"auto, the cluster at {cluster.address}"), (cluster.address, cluster.address)):
        with closing(crew_on_ray(AskedModel(Settings(ray=asked)))) as crew:
            assert crew.joined == f"Ray at {where}: 2 nodes, room for 2 models"


def test_why_a_model_ended_is_told_to_the_end_of_a_word() -> None:
    why = "(1) the process was killed by the OOM killer, (2) ray stop --force was called, " * 3 + "(3) it crashed"
    assert ray_cluster._why(RuntimeError(f"The actor died.\n\tWorker exit detail: {why}\n\tand more")) == why
    assert ray_cluster._why(RuntimeError("Reason: " + "word " * 99)).endswith("word word ...")


def test_too_few_gpus(cluster: TwoNodes) -> None:
    assert refused(ray=cluster.address, device_map="cuda", gpus=2) == (
        f"Ray at {cluster.address}: no node has more than 0 GPUs; expected 2 for a model; set gpus to fewer, or start "
        "Ray on larger nodes"
    )


class Full:
    """What an actor sends, where Ray has no room for it."""

    def __next__(self) -> object:
        from ray.exceptions import ObjectStoreFullError

        raise ObjectStoreFullError("80 MB in use")


def test_a_full_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError) as error:
        ray_cluster._next(Full())
    assert str(error.value).startswith("cluster: Ray's object store is full (80 MB in use")
    assert "expected room for the prompts that are on their way; start Ray with more" in str(error.value)
