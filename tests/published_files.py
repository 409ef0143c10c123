"""A made-up folder of published result files: two tasks of 10 and 6 rows, k = 1 and 2, one random draw."""

import json
from pathlib import Path
from typing import Any

BASELINE = {"city": (10, 9), "year": (6, 6)}
WITHIN = {"city": {1: 8, 2: 3}, "year": {1: 6, 2: 2}}
OWN_HEADS = {"city": [[2, 1], [1, 0]], "year": [[1, 0], [3, 3]]}
SHARED = [[3, 3]]
"""As the file says, though not what follows from its lists."""
GLOBAL = [[1, 0], [2, 1]]
RANDOM = [[0, 0], [3, 3]]
"""The second is a candidate of `year`."""
POOLED = {
    "across_task_ablation": {1: (7, 5), 2: (7, 5)},
    "global_ablation": {1: (7, 5), 2: (2, 0)},
    "random_ablation_control": {1: (9, 6), 2: (8, 5)},
}
OTHERS = {("city", "year"): {1: 5, 2: 4}, ("year", "city"): {1: 9, 2: 6}}
"""Matches of the second task's rows without the first one's heads."""


def counted(task: str, matches: int) -> dict[str, Any]:
    attempts = BASELINE[task][0]
    return {"attempts": attempts, "matches": matches, "accuracy": matches / attempts}


def pooled(name: str, k: int) -> dict[str, Any]:
    city, year = POOLED[name][k]
    heads = {"across_task_ablation": len(SHARED[:k]), "global_ablation": k, "random_ablation_control": RANDOM[:k]}
    return {
        "k": k,
        "heads_ablated": heads[name],
        "overall_accuracy": (city + year) / 16,
        "total_attempts": 16,
        "total_matches": city + year,
        "per_task": {"city": counted("city", city), "year": counted("year", year)},
    }


def documents() -> dict[str, Any]:
    """Every file's document, to be changed and written."""
    own = {(task, task): by_k for task, by_k in WITHIN.items()}
    return {
        "baseline_results": {task: counted(task, matches) for task, (_, matches) in BASELINE.items()},
        "within_task_ablation": {
            task: {str(k): {"k": k, "heads_ablated": k, **counted(task, matches)} for k, matches in by_k.items()}
            for task, by_k in WITHIN.items()
        },
        "cross_task_ablation": {
            str(k): {
                "k": k,
                "per_source_task": {
                    source: {
                        target: {**counted(target, (own | OTHERS)[source, target][k]), "heads_ablated": k}
                        for target in WITHIN
                    }
                    for source in WITHIN
                },
            }
            for k in (1, 2)
        },
        **{name: {str(k): pooled(name, k) for k in (1, 2)} for name in POOLED},
        "ranked_heads": {
            "per_task_top_k": 2,
            "tasks": {
                task: [{"layer": layer, "head": head, "score": 0.5 - 0.1 * i} for i, (layer, head) in enumerate(heads)]
                for task, heads in OWN_HEADS.items()
            },
            "shared_heads": [
                {"layer": layer, "head": head, "avg_score": 0.45, "task_frequency": 2} for layer, head in SHARED
            ],
            "global_heads": [
                {"layer": layer, "head": head, "score": 0.45 - 0.1 * i} for i, (layer, head) in enumerate(GLOBAL)
            ],
        },
        "older_heads": {
            "model": "some/model",
            "top_k": 1,
            "tasks": {task: [{"layer": 1, "head": 1, "score": 0.5}] for task in WITHIN},
        },
        "notes": {"seed": 42},
    }


def write_documents(files: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in files.items():
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def published_folder(folder: Path) -> Path:
    return write_documents(documents(), folder)
