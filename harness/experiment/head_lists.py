"""Lists of ranked heads as files write them, whoever wrote the file: every known way of writing a head and its score.

A head is `{"layer": 17, "head": 24}`, `[17, 24]`, `"17-24"` or `"L17H24"`, its score beside it; without scores places
stand in for them, the last head's being 1. Scores of every trial by head, `{"16-19": [0.9, 0]}`, as the code of Wu et
al. (2024, arXiv 2404.15574) writes them, are ranked by mean. The YAML of QRHead
(https://github.com/princeton-pli/QRHead) has its heads in one text, `attn_head_set: "13-18,13-21"`, best first.

A list's order is its ranking, so a list whose scores do not fall is an error. Knows nothing of what a file says beside
its lists.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from harness.errors import HeadsError
from harness.experiment.heads import Head
from harness.experiment.json_nodes import Node
from harness.experiment.rankings import ScoredHead, best_first
from harness.files import read_bytes

ACCEPTED = (
    'expected {"tasks": {TASK: [{"layer": 17, "head": 24, "score": 0.3}]}}, '
    '{TASK: [{"head": [17, 24], "avg_score": 0.3}]}, {"16-19": [0.9, 0]} (a head\'s trials), '
    '{"meta": {}, "scores": {"16-19": [0.9, 0]}}, {"head_rankings": [{"head": "L16H1", "score": 0.3}]}, [[17, 24]] or '
    '[["13-18", 0.5]]'
)
_EXPECTED_YAML = 'expected QRHead\'s attn_head_set: "13-18,13-21", or another format as JSON'


def scored_list(node: Node) -> tuple[ScoredHead, ...]:
    """A list of scored heads. Raises HeadsError, as all of these do, where an entry is bad."""
    return _best_first((item, ScoredHead(head_of(item), score_of(item))) for item in node.items())


def unscored_list(node: Node) -> tuple[ScoredHead, ...]:
    """A flat list of heads, without scores."""
    items = node.items()
    return _best_first((item, ScoredHead(head_of(item), float(len(items) - i))) for i, item in enumerate(items))


def ranked_by_trials(node: Node) -> tuple[ScoredHead, ...]:
    """A table of heads and their scores of every trial, ranked by mean."""
    trials = node.table(Node.numbers)
    means: dict[Head, float] = {}
    for key, scores in trials.items():
        head = Head.parse(key)
        if head in means:
            raise HeadsError(f"{node.source}: {key}: {head} again; expected each head once")
        if not scores:
            raise HeadsError(f"{node.source}: {key}: no trials; expected at least one")
        means[head] = math.fsum(scores) / len(scores)
    return best_first([ScoredHead(head, score) for head, score in means.items()])


def read_yaml(path: Path) -> Node:
    """A YAML file's content."""
    import yaml

    try:
        return Node(yaml.safe_load(read_bytes(path)), path.name)
    except OSError as error:
        raise HeadsError(f"{path}: {error.strerror}; expected a YAML file that can be read") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise HeadsError(f"{path.name}: no YAML: {str(error).splitlines()[0]}; {_EXPECTED_YAML}") from None


def head_set(root: Node) -> tuple[ScoredHead, ...]:
    """QRHead's: heads in one text, without scores."""
    if not isinstance(root.value, dict) or "attn_head_set" not in root.value:
        raise HeadsError(f"{root.source}: no attn_head_set; {_EXPECTED_YAML}: {ACCEPTED.removeprefix('expected ')}")
    listed = root.field("attn_head_set")
    parts = [part.strip() for part in listed.text().split(",")]
    items = [listed.part(part, f"[{i}]") for i, part in enumerate(parts)]
    return _best_first(
        (item, ScoredHead(parsed_head(item, item.text()), float(len(parts) - i))) for i, item in enumerate(items)
    )


def head_of(item: Node) -> Head:
    """The head of an entry, in any of the known ways of writing one."""
    match item.value:
        case {"layer": layer, "head": head} | {"head": [layer, head]} | [int() as layer, head]:
            return Head(item.part(layer, "layer").integer(), item.part(head, "head").integer())
        case {"head": str() as text} | [str() as text, _]:
            return parsed_head(item, text)
    raise item.bad('a head, as in {"layer": 17, "head": 24, "score": 0.3}')


def score_of(item: Node) -> float:
    """The score of an entry."""
    match item.value:
        case {"score": score} | {"avg_score": score} | [str(), score]:
            return item.part(score, "score").number()
    raise item.bad('a score, as in {"layer": 17, "head": 24, "score": 0.3}')


def parsed_head(item: Node, text: str) -> Head:
    """The head that a text names, as in `17-24`."""
    try:
        return Head.parse(text)
    except HeadsError as error:
        raise HeadsError(f"{item.where}: {error}") from None


def _best_first(heads: Iterable[tuple[Node, ScoredHead]]) -> tuple[ScoredHead, ...]:
    """The heads of a list, checked: each once, and no score above the one before."""
    places: dict[Head, str] = {}
    lowest = math.inf
    checked = []
    for item, scored in heads:
        if scored.head in places:
            raise HeadsError(f"{item.where}: {scored.head} again, after {places[scored.head]}; expected each head once")
        if scored.score > lowest:
            raise HeadsError(
                f"{item.where}: score {scored.score} after {lowest}; expected a list that is best first, for "
                "its order is the ranking"
            )
        places[scored.head], lowest = item.place, scored.score
        checked.append(scored)
    return tuple(checked)
