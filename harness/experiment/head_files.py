"""Files of ranked heads: every known format in, our own out.

Ours is a superset of the format of the EDGAR haystack study (per-task lists, shared and global heads), with
what is needed to judge it: the model's shape, the method, samples, the full scores, and hashes of the filings
that it was made from. Also read: that study's older format; per-task lists of `{"head": [17, 24],
"avg_score": 0.3}`; and files of one list that serves every task: scores of every trial by head, also in the envelope of
LOCOS (arXiv 2607.01002), `{"meta": {}, "scores": {}}`, `{"head_rankings": [...]}`, flat lists, and QRHead's YAML.

How a list is written is `head_lists`' affair. Knows no models: whether heads exist in one, `HeadRanking.check_shape`
says.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import HeadsError
from harness.experiment.head_lists import (
    ACCEPTED,
    head_of,
    head_set,
    parsed_head,
    ranked_by_trials,
    read_yaml,
    score_of,
    scored_list,
    unscored_list,
)
from harness.experiment.heads import Head, ModelShape
from harness.experiment.json_nodes import Node, read_json
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, Scores, SharedHead
from harness.experiment.stability import ListStability, Stability
from harness.files import write_text
from harness.retrieval.traces import PLACES, Extent, Traces

SCHEMA_VERSION = 1
UNSCORED = "order of the list, without scores"
"""The method of a list that says nothing but its order."""

_HEAD_KEY = re.compile(r"\d+-\d+", re.ASCII)


def read_ranking(path: Path, *, top_k: int | None = None) -> HeadRanking:
    """Read a head file of any known format.

    `top_k` is how many heads of a list are candidates where the file does not say; without it, all that are
    listed.

    Raises:
        HeadsError: the file cannot be read, is of no known format, or an entry is bad: no head, no finite
            score, a head twice in a list, or a list that is not best first.
    """
    try:
        document = read_json(path)
    except HeadsError:
        if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
            return _for_every_task(path.name, head_set(read_yaml(path)), top_k, UNSCORED)
        if path.suffix.lower() == ".json" or not path.is_file():
            raise
        raise HeadsError(f"{path.name}: not JSON; {ACCEPTED}, in JSON; convert it") from None
    match document.value:
        case {"meta": dict(), "scores": dict()}:
            ranking = _read(document.field("scores"), top_k)
            return replace(ranking, method=document.field("meta").optional("method", Node.text))
    return _read(document, top_k)


def write_ranking(ranking: HeadRanking, path: Path) -> None:
    """Write our own format, atomically; what is read back equals what was written, to the last bit.

    Shared and global heads are written as they follow from the scores, the latter up to `top_k`.

    Raises:
        HeadsError: the file cannot be written, or a number of the ranking is not finite.
    """
    try:
        text = _layout(_document(ranking)) + "\n"
    except ValueError as error:
        raise HeadsError(f"{path}: {error}; expected finite numbers only") from error
    try:
        write_text(path, text)
    except OSError as error:
        raise HeadsError(f"{path}: {error.strerror}; expected a file that can be written") from error


def _read(root: Node, top_k: int | None) -> HeadRanking:
    """Tell the formats apart by their outermost shape."""
    source = root.source
    match root.value:
        case {"tasks": dict()}:
            return _read_tasks(root, source, top_k)
        case {"head_rankings": list()}:
            method = root.optional("method", Node.text)
            return _for_every_task(source, scored_list(root.field("head_rankings")), top_k, method)
        case dict() as value if value and all(_HEAD_KEY.fullmatch(key) for key in value):
            return _for_every_task(source, ranked_by_trials(root), top_k, None)
        case dict() as value if value and all(isinstance(heads, list) for heads in value.values()):
            return _ranking(source, root.table(scored_list), top_k)
        case [[int(), int()], *_]:
            return _for_every_task(source, unscored_list(root), top_k, UNSCORED)
        case [[str(), _], *_] | [dict(), *_]:
            return _for_every_task(source, scored_list(root), top_k, None)
    raise HeadsError(f"{source}: not a known format of ranked heads; {ACCEPTED}")


def _ranking(source: str, tasks: Mapping[str, tuple[ScoredHead, ...]], top_k: int | None) -> HeadRanking:
    listed = max(map(len, tasks.values()), default=0)
    return HeadRanking(source=source, tasks=tasks, top_k=listed if top_k is None else top_k)


def _for_every_task(source: str, heads: tuple[ScoredHead, ...], top_k: int | None, method: str | None) -> HeadRanking:
    return replace(_ranking(source, {EVERY_TASK: heads}, top_k), every_task=True, method=method)


def _read_tasks(root: Node, source: str, top_k: int | None) -> HeadRanking:
    """Ours, and both formats of the study that it extends."""
    version = root.optional("schema_version", lambda node: node.integer(1))
    if version is not None and version > SCHEMA_VERSION:
        raise HeadsError(
            f"{source}: schema_version {version}; expected at most {SCHEMA_VERSION}; a newer harness wrote it"
        )
    for key in ("top_k", "per_task_top_k"):
        if root.has(key):
            top_k = root.field(key).integer(1)
            break
    ranking = replace(
        _ranking(source, root.field("tasks").table(scored_list), top_k),
        every_task=root.optional("every_task", Node.boolean) or False,
        method=root.optional("method", Node.text),
        variant=root.optional("variant", Node.text),
        # the older format has the model's name alone
        model=None if version is None else root.optional("model", _shape),
        mean_scores=root.optional("mean_scores", lambda node: node.table(_grid)),
        listed_shared=root.optional("shared_heads", _shared),
        listed_global=root.optional("global_heads", scored_list),
        filing_hashes=root.optional("filing_hashes", _texts),
        split_seed=root.optional("split_seed", lambda node: node.integer(None)),
        split_share=root.optional("split_share", Node.number),
        traces=root.optional("traces", _traces),
        chance=root.optional("chance", lambda node: node.table(Node.number)),
        stability=root.optional("stability", _stability),
        extent=root.optional("extent", _extent),
        samples=root.optional("samples", lambda node: node.table(lambda count: count.integer(1))),
        split_half=root.optional("split_half", lambda node: node.table(Node.number)),
    )
    _check_listed_scores(ranking)
    _check_chance(ranking)
    return ranking


def _check_listed_scores(ranking: HeadRanking) -> None:
    """Two places of one file must not say different things about a head."""
    for task, grid in (ranking.mean_scores or {}).items():
        ranking.check_shape(ranking.model or ModelShape(len(grid), len(grid[0])))
        for i, listed in enumerate(ranking.tasks.get(task, ())):
            full = grid[listed.head.layer][listed.head.head]
            if listed.score != full:
                raise HeadsError(
                    f"{ranking.source}: tasks.{task}[{i}]: score {listed.score}, but {full} in mean_scores; "
                    "expected one and the same; rank the heads anew"
                )


def _check_chance(ranking: HeadRanking) -> None:
    """What a head scores by chance is known of every task, or of none."""
    if ranking.chance is not None and (missing := [task for task in ranking.tasks if task not in ranking.chance]):
        raise HeadsError(
            f"{ranking.source}: chance: none of {', '.join(missing)}; expected one of every task; rank the heads anew"
        )


def _shared(node: Node) -> tuple[SharedHead, ...]:
    return tuple(
        SharedHead(head_of(item), item.field("task_frequency").integer(1), score_of(item)) for item in node.items()
    )


def _shape(node: Node) -> ModelShape:
    return ModelShape(
        n_layers=node.field("n_layers").integer(1),
        n_heads=node.field("n_heads").integer(1),
        head_dim=node.optional("head_dim", lambda width: width.integer(1)),
        id=node.optional("id", Node.text),
        revision=node.optional("revision", Node.text),
    )


def _grid(node: Node) -> Scores:
    return tuple(tuple(row.numbers()) for row in node.items())


def _texts(node: Node) -> frozenset[str]:
    return frozenset(item.text() for item in node.items())


def _extent(node: Node) -> Extent:
    depths = node.field("depths")
    match [_part(depth) for depth in depths.items()]:
        case [low, middle, high] if low <= middle <= high:
            return Extent(node.field("tokens").number(), (low, middle, high))
    raise depths.bad("three quartiles, none below the one before it")


def _stability(node: Node) -> Stability:
    return Stability(
        clusters=node.field("clusters").integer(1),
        resamples=node.field("resamples").integer(1),
        tasks=node.field("tasks").table(_list_stability),
        shared_heads=node.optional("shared_heads", _list_stability),
        global_heads=node.optional("global_heads", _list_stability),
    )


def _list_stability(node: Node) -> ListStability:
    in_top = node.field("in_top")
    parts = in_top.table(lambda head: tuple(_part(part) for part in head.items()))
    return ListStability(
        in_top={parsed_head(in_top, key): of_head for key, of_head in parts.items()},
        least_kept=tuple(count.integer() for count in node.field("least_kept").items()),
    )


def _part(node: Node) -> float:
    part = node.number()
    if not 0 <= part <= 1:
        raise node.bad("a number from 0 to 1")
    return part


def _stability_document(stability: Stability) -> dict[str, object]:
    def of_list(found: ListStability | None) -> dict[str, object] | None:
        if found is None:
            return None
        in_top = {f"{head.layer}-{head.head}": list(parts) for head, parts in sorted(found.in_top.items())}
        return {"least_kept": list(found.least_kept), "in_top": in_top}

    return {
        "clusters": stability.clusters,
        "resamples": stability.resamples,
        "tasks": {task: of_list(found) for task, found in stability.tasks.items()},
        "shared_heads": of_list(stability.shared_heads),
        "global_heads": of_list(stability.global_heads),
    }


def _traces(node: Node) -> Traces:
    return Traces(
        clusters=_texts(node.field("cluster_hashes")),
        haystacks=_texts(node.field("haystack_hashes")),
        needles=_texts(node.field("needle_hashes")),
        signatures=frozenset(_signature(item) for item in node.field("signatures").items()),
    )


def _signature(item: Node) -> bytes:
    text = item.text()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * PLACES}}}", text):
        raise item.bad(f"{PLACES} bytes in hex")
    return bytes.fromhex(text)


def _traces_document(traces: Traces) -> dict[str, list[str]]:
    return {
        "cluster_hashes": sorted(traces.clusters),
        "haystack_hashes": sorted(traces.haystacks),
        "needle_hashes": sorted(traces.needles),
        "signatures": sorted(each.hex() for each in traces.signatures),
    }


def _document(ranking: HeadRanking) -> Mapping[str, object]:
    shape, scores, hashes, extent = ranking.model, ranking.mean_scores, ranking.filing_hashes, ranking.extent
    return {
        "schema_version": SCHEMA_VERSION,
        "model": None
        if shape is None
        else {
            "id": shape.id,
            "revision": shape.revision,
            "n_layers": shape.n_layers,
            "n_heads": shape.n_heads,
            "head_dim": shape.head_dim,
        },
        "method": ranking.method,
        "variant": ranking.variant,
        "top_k": ranking.top_k,
        "per_task_top_k": ranking.top_k,
        "every_task": ranking.every_task,
        "samples": None if ranking.samples is None else dict(ranking.samples),
        "split_seed": ranking.split_seed,
        "split_share": ranking.split_share,
        "split_half": None if ranking.split_half is None else dict(ranking.split_half),
        "chance": None if ranking.chance is None else dict(ranking.chance),
        "extent": None if extent is None else {"tokens": extent.tokens, "depths": list(extent.depths)},
        "filing_hashes": None if hashes is None else sorted(hashes),
        "traces": None if ranking.traces is None else _traces_document(ranking.traces),
        "tasks": {task: [_entry(scored) for scored in heads] for task, heads in ranking.tasks.items()},
        "shared_heads": [
            {**_place(s.head), "avg_score": s.score, "task_frequency": s.task_frequency} for s in ranking.shared()
        ],
        "global_heads": [_entry(scored) for scored in ranking.global_candidates()],
        "stability": None if ranking.stability is None else _stability_document(ranking.stability),
        "mean_scores": None if scores is None else {task: list(grid) for task, grid in scores.items()},
    }


def _place(head: Head) -> dict[str, float]:
    return {"layer": head.layer, "head": head.head}


def _entry(scored: ScoredHead) -> dict[str, float]:
    return {**_place(scored.head), "score": scored.score}


def _layout(value: object, indent: str = "") -> str:
    """JSON with one innermost list or object a line: a head, or a layer's scores."""
    deeper = indent + "  "
    match value:
        case dict() if any(isinstance(child, dict | list | tuple) for child in value.values()):
            lines = [f"{json.dumps(key)}: {_layout(child, deeper)}" for key, child in value.items()]
            opening, closing = "{}"
        case list() if any(isinstance(child, dict | list | tuple) for child in value):
            lines = [_layout(child, deeper) for child in value]
            opening, closing = "[]"
        case _:
            return json.dumps(value, allow_nan=False)
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{indent}{closing}"
