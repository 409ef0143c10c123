"""Completions of a report checked from outside: plain transformers, weights cut by hand, `generate`.

    python -m tests.outside_check REPORT --model FILE.gguf --data rows.jsonl --k 5 --rows 18

Of the report's samples so many rows are drawn by seed among conditions of this k, as evenly over experiments as they
come. For each the heads' columns of the layers' `o_proj.weight` are set to zero in a fresh copy of the weights and the
prompt is continued by `generate`, without anything of the engine, its hooks or its caches. Only the prompt's tokens are
the project's own. Prints one line a row and how many completions differ; exit status 1 where one does,
or where the report holds fewer.
"""

import argparse
import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.retrieval.prompts import build_prompt
from harness.retrieval.rows import read_rows
from harness.retrieval.tasks import EDGAR_TASKS

Fields = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.outside_check", description=__doc__)
    parser.add_argument("report", type=Path, help="folder of a report")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file of the model that it asked")
    parser.add_argument("--data", type=Path, required=True, help="the rows that it asked")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--rows", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    report = json.loads((options.report / "report.json").read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = {"pretrained_model_name_or_path": str(options.model.parent), "gguf_file": options.model.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model = model.to(device).eval()
    whole = {name: weight.clone() for name, weight in model.state_dict().items() if "o_proj.weight" in name}
    rows = {row.id: row for row in read_rows(options.data, EDGAR_TASKS).rows}

    different, checked = 0, drawn(options.report, report, options.k, options.rows, options.seed)
    for sample, condition in checked:
        width = report["model"]["head_dim"]
        for name, weight in model.state_dict().items():
            if name in whole:
                weight.copy_(whole[name])
        for layer, head in condition["heads"]:
            model.model.layers[layer].self_attn.o_proj.weight.data[:, head * width : (head + 1) * width] = 0
        row, asked = rows[sample["row"]], report["configuration"]
        depth = asked["depth"][0] if row.depth is None else row.depth
        prompt = build_prompt(row, EDGAR_TASKS[row.task], tokenizer, depth=depth, insertion=asked["insertion"])
        ids = torch.tensor([prompt.token_ids], device=device)
        limit = asked["max_new_tokens"]
        said = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=limit, pad_token_id=0
        )
        completion = str(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)).strip()
        equal = completion == sample["completion"].strip()
        different += not equal
        print(f"{'equal' if equal else 'DIFFERS'}  {condition['name']}  {sample['row']}  {completion!r}")
        if not equal:
            print(f"         the report has {sample['completion']!r}")
    print(f"{different} of {len(checked)} completions differ")
    return int(different > 0 or len(checked) < options.rows)


def drawn(folder: Path, report: Fields, k: int, n_rows: int, seed: int) -> list[tuple[Fields, Fields]]:
    """So many samples with their conditions, no row twice while there are others, experiment after experiment."""
    conditions = {each["name"]: each for each in report["conditions"] if each["k"] == k and each["prompt"] == "full"}
    by_experiment = defaultdict(list)
    with (folder / "samples.jsonl").open() as lines:
        for line in lines:
            sample = json.loads(line)
            if sample["condition"] in conditions:
                by_experiment[conditions[sample["condition"]]["experiment"]].append(sample)
    chance = random.Random(seed)
    for samples in by_experiment.values():
        chance.shuffle(samples)
    chosen: list[Fields] = []
    seen: set[str] = set()
    while len(chosen) < n_rows and any(by_experiment.values()):
        for samples in filter(None, by_experiment.values()):
            fresh = next((each for each in samples if each["row"] not in seen), samples[0])
            samples.remove(fresh)
            chosen.append(fresh)
            seen.add(fresh["row"])
    return [(sample, conditions[sample["condition"]]) for sample in chosen[:n_rows]]


if __name__ == "__main__":
    sys.exit(main())
