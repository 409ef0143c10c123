"""The paces of cards, out of the benchmarks in `reports/bench`, into the file that a dry run for a cluster reads.

    python -m tests.card_paces

A pace is one device's (or several's, which hold one model) with one size of model in one dtype. Of files of one kind
the one of most completions stands; what was measured on a CPU, of the reference alone, or of rows of one filing, is
none.

The least time is that of one pass over the weights a row and new token, as a dry run counts. Files of version 1 told it
by the engine's own passes, more where memory was short: theirs is told anew. Of files of `tests.rows_in_flight`, also
of those of several models side by side, the fastest way stands that was run on most rows; fewer than `LEAST_ROWS` for
one model say more of filling and draining it than of a study.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from harness.experiment.bench_result import CARD_PACES, read_pace
from harness.experiment.cost import Speed, least_seconds
from harness.files import write_text

BENCH = Path(__file__).parents[1] / "reports" / "bench"
KEPT = ("model", "device", "gpus", "n_layers", "dtype", "quantization", "speed", "fraction_of_floor", "prompt_tokens")
LEAST_ROWS = 16
KIND = ("device", "gpus", "n_layers", "dtype", "quantization")
"""What two paces of one kind have in common."""


def card_paces(folder: Path = BENCH) -> str:
    """The file's text."""
    files = {file: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    paces: dict[tuple[object, ...], dict[str, Any]] = {}
    in_flight = [(n, file.name, pace) for file, found in files.items() for n, pace in _of_rows_in_flight(found)]
    for _, name, pace in sorted(in_flight, key=lambda each: (-each[0], -each[2]["fraction_of_floor"])):
        paces.setdefault(tuple(pace[name] for name in KIND), {"file": name} | pace)
    for file, found in sorted(files.items(), key=lambda each: -each[1].get("n_completions", 0)):
        sides = [found[side]["name"] for side in ("engine", "baseline") if side in found]
        if (
            "fraction_of_floor" not in found
            or found["device"].endswith("CPU")
            or sides[:1] != ["shared"]
            or found.get("one_filing") is not None
        ):
            continue
        kept = {name: found.get(name) for name in KEPT}
        kept |= {"gpus": read_pace(file).gpus, "fraction_of_floor": _fraction(found)}
        paces.setdefault(tuple(kept[name] for name in KIND), {"file": file.name} | kept)
    of_size = sorted(paces.values(), key=lambda each: (each["n_layers"], each["device"], each["gpus"]))
    return json.dumps({"schema_version": 1, "paces": of_size}, indent=1) + "\n"


def _of_rows_in_flight(found: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Of each way the rows that were run, and one model's pace; Ray's are the processes' again."""
    if "cards" not in found:
        return
    ways: dict[str, dict[str, Any]] = {
        name: {"rows": found["n_rows"], "models": 1, "cards_each": len(found["cards"]), **found, **way}
        for name, way in (found.get("ways") or found).items()
        if isinstance(way, dict) and "seconds" in way and (name.startswith("in_flight_") or way.get("speed"))
    }
    for way in [way for way in ways.values() if way["rows"] >= LEAST_ROWS * way["models"]]:
        # those of all rows, of which this way may have run some
        share = way["rows"] / found["n_rows"]
        least = share * least_seconds(way["flops"], way["read_bytes"], Speed(**way["speed"]))
        yield (
            way["rows"],
            {
                "model": found["shape"],
                "device": found["cards"][0],
                "gpus": way["cards_each"],
                "n_layers": sum(n for _, n in way["stages"]),
                "dtype": way["dtype"],
                "quantization": None,
                "speed": way["speed"],
                "fraction_of_floor": least / (way["models"] * way["seconds"]),
                "prompt_tokens": "-".join(map(str, found["prompt_tokens"])),
            },
        )


def _fraction(found: dict[str, Any]) -> float:
    if found["schema_version"] > 1:
        return float(found["fraction_of_floor"])
    passes = found["n_rows"] * found["max_new_tokens"] / found["engine"]["steps"]
    seconds = least_seconds(found["flops"], found["read_bytes"] * passes, Speed(**found["speed"]))
    return seconds / float(median(found["engine"]["seconds"]))


if __name__ == "__main__":
    write_text(CARD_PACES, card_paces())
