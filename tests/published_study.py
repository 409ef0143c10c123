"""What a study of the published size costs on a 70B: its dry run, of made-up rows, before anyone has such a model.

    python -m tests.published_study --heads ranked_heads.json --json reports/bench/published-study.json

265 rows of 53 filings, five questions each of the nine, prompts of 6,400 to 7,600 tokens with the needle in the middle;
every experiment of `evals` and all three gates with 19 draws, each row's conditions as the ranking gives them. The text
is made up, a token a byte: what counts is how long prompts are and what they share. The ranking is the published one of
the EDGAR haystack study (https://github.com/dersual/EDGAR-Haystack, `ranked_heads.json`), of a model of 32 layers: its
heads lie in the first 32 of these 80, so that conditions part early, and cost more than with heads of the model's own.

The file that is written holds the costs that `docs/clusters.md` tells hours from, at the paces of cards.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from harness.errors import HeadsError
from harness.experiment.conditions import BASELINE, Condition, distinct
from harness.experiment.experiments import EXPERIMENTS
from harness.experiment.gate_conditions import GATES
from harness.experiment.store import IN_MEMORY, Store
from harness.files import write_text
from harness.model.performance.shapes import SHAPES
from harness.options import Given, resolve_settings
from harness.retrieval.rows import Row, write_rows
from harness.retrieval.tasks import EDGAR_TASKS
from harness.settings import Settings
from harness.study.forecast import Forecast, forecast
from harness.study.forecast_text import forecast_lines
from harness.study.inputs import Inputs, read_inputs
from harness.study.judging import build_gate
from harness.study.run import Run

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))
from tiny_models import tiny_tokenizer  # noqa: E402  # a module of the tests, which are no package of the project's

SHAPE = "llama-3.3-70b"
FILINGS, QUESTIONS = 53, 5
TOKENS = range(6400, 7600)
EVALS = HERE.parent / "evals"
WORDS = "costs rose while sales of our products fell and other companies made more than we had expected".split()


def rows() -> Iterator[Row]:
    """Five rows of each filing, which ask different questions of one text."""
    chance, tasks = random.Random(0), list(EDGAR_TASKS)
    for filing in range(FILINGS):
        text, length = "", chance.choice(TOKENS) - 250  # the question, and what stands around it
        while len(text) < length:
            text += f"In {chance.randrange(1950, 2020)} {' '.join(chance.choices(WORDS, k=12))}. "
        for number in range(QUESTIONS):
            task = tasks[(filing + number) % len(tasks)]
            value = str(chance.randrange(100, 1000))
            needle = f"The {task.replace('_', ' ')} is {value}."
            yield Row(f"filing{filing}", task, needle, value, text.strip(), split="evaluation")


def conditions(inputs: Inputs) -> tuple[Condition, ...]:
    """All that `pytest evals` asks for, and can have with such a ranking."""
    study, found = inputs.study(), [BASELINE]
    for name, builder in EXPERIMENTS.items():
        if (EVALS / f"test_{name}.py").is_file():
            try:
                found += builder(study)
            except HeadsError:
                continue  # the lowest-scoring heads of a list that is cut
    for gate in GATES:
        found += build_gate(inputs, gate).conditions
    return distinct(found)


def dry_run(folder: Path, heads: Path, **asked: str) -> Forecast:
    """The forecast of the study; `folder` takes model and rows."""
    SHAPES[SHAPE].save_pretrained(folder / SHAPE)
    tiny_tokenizer().save_pretrained(folder / SHAPE)
    write_rows(rows(), folder / "rows.jsonl")
    given = asked | {"model": SHAPE, "data": "rows.jsonl", "heads": str(heads.resolve())}
    given |= {"dtype": "bfloat16", "dry-run": "true"}
    settings = resolve_settings({name: Given(name, text, folder) for name, text in given.items()}, folder)
    with Store(IN_MEMORY) as store:
        inputs = read_inputs(settings)
        return forecast(Run(inputs, store, run_id="dry"), conditions(inputs))


def costs(found: Forecast) -> dict[str, object]:
    """What hours on any card follow from."""
    size = found.kept[-1].size
    return {
        "schema_version": 1,
        "model": SHAPE,
        "dtype": found.kept[-1].dtype,
        "rows": found.n_rows,
        "conditions": found.n_conditions,
        "completions": found.plan.distinct,
        "if_right": found.plan.if_right,
        "prompt_tokens": sum(found.tokens),
        "read_tokens": found.n_fed,
        "longest": max(found.tokens),
        "max_new_tokens": Settings.max_new_tokens,
        "flops_one_by_one": found.flops[0],
        "flops_apart": found.alone_flops,
        "flops": found.flops[1],
        "steps": found.steps,
        "positions": found.positions,
        "work": list(found.work),
        "size": {**asdict(size), "layers": [asdict(size.layers[0])], "n_layers": len(size.layers)},
    }


def main() -> None:
    """Tell the dry run, and write the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=Path, required=True, metavar="FILE", help="the ranking")
    parser.add_argument("--cluster", default="1xH200-141GB", metavar="NODES", help="as --ablation-cluster")
    parser.add_argument("--bench", metavar="FILE", help="as --ablation-bench")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the costs")
    arguments = parser.parse_args()
    asked = {"cluster": arguments.cluster} | ({} if arguments.bench is None else {"bench": arguments.bench})
    with tempfile.TemporaryDirectory() as folder:
        found = dry_run(Path(folder), arguments.heads, **asked)
    print(*forecast_lines(found), sep="\n")
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(costs(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
