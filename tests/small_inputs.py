"""A study read in no time: rows of two tasks over short filings, a tiny checkpoint, a ranking of its heads."""

from dataclasses import replace
from pathlib import Path

from tiny_models import save_checkpoint

from harness.demo.filings import demo_rows
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.inputs import Inputs, read_inputs


def small_inputs(folder: Path, n_filings: int) -> Inputs:
    """All rows for evaluation; files are left in the folder."""
    save_checkpoint(folder / "tiny")
    tasks = ("ceo_lastname", "incorporation_year")
    rows = [replace(row, split="evaluation") for row in demo_rows(n_filings, n_sentences=2) if row.task in tasks]
    write_rows(rows, folder / "rows.jsonl")
    scores = {task: [[float(layer + head) for head in range(4)] for layer in range(3)] for task in tasks}
    write_ranking(rank(scores, top_k=2, model=ModelShape(3, 4)), folder / "heads.json")
    return read_inputs(
        Settings(model=str(folder / "tiny"), data=folder / "rows.jsonl", heads=folder / "heads.json", k=(1, 2))
    )
