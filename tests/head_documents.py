"""Files of ranked heads, and lists of them, as tests write them."""

import json
from pathlib import Path

from harness.experiment.heads import Head
from harness.experiment.rankings import ScoredHead


def write(folder: Path, document: object) -> Path:
    path = folder / "ranked_heads.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def listed(*heads: tuple[int, int, float]) -> tuple[ScoredHead, ...]:
    return tuple(ScoredHead(Head(layer, head), score) for layer, head, score in heads)


def places(*heads: tuple[int, int]) -> list[dict[str, float]]:
    return [{"layer": layer, "head": head, "score": 1 / (i + 1)} for i, (layer, head) in enumerate(heads)]
