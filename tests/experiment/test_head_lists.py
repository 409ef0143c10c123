import math
from pathlib import Path

import pytest
from head_documents import listed, places, write

from harness.errors import HeadsError
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head


def test_one_file_in_every_format_gives_one_order(tmp_path: Path) -> None:
    order = [Head(17, 24), Head(3, 1), Head(0, 2)]
    entries = [
        {"head": [17, 24], "avg_score": 0.75},
        {"head": [3, 1], "avg_score": 0.5},
        {"head": [0, 2], "avg_score": 0},
    ]
    documents: list[object] = [
        {"tasks": {"ceo": places((17, 24), (3, 1), (0, 2))}},
        {"per_task_top_k": 3, "tasks": {"ceo": places((17, 24), (3, 1), (0, 2))}, "shared_heads": []},
        {"ceo": entries},
        entries,
        [[17, 24], [3, 1], [0, 2]],
        {"0-2": [0, 0], "17-24": [1.0, 0.5], "3-1": [1, 0]},
        {
            "method": "x",
            "head_rankings": [{"head": str(h), "score": 3 - i, "rank": i + 1} for i, h in enumerate(order)],
        },
        [["17-24", 0.75], ["3-1", 0.5], ["0-2", 0.0]],
        {"meta": {"method": "x"}, "scores": {"0-2": [0, 0], "17-24": [1.0, 0.5], "3-1": [1, 0]}, "trial_ids": []},
    ]
    for document in documents:
        ranking = read_ranking(write(tmp_path, document))
        assert list(ranking.candidates("ceo")) == order, document
        assert ranking.top_k == 3
        assert ranking.source == "ranked_heads.json"


def test_trials_are_ranked_by_their_mean_ties_by_place(tmp_path: Path) -> None:
    ranking = read_ranking(write(tmp_path, {"1-0": [0, 1], "0-9": [0.5], "2-2": [0.9, 0.6, 0.6]}))
    assert ranking.scored("any") == listed((2, 2, math.fsum([0.9, 0.6, 0.6]) / 3), (0, 9, 0.5), (1, 0, 0.5))
    assert ranking.every_task


@pytest.mark.parametrize(
    "text", ['attn_head_set: "35-17, 35-27,2-0" # top3\nmodel_base_class: x\n', "attn_head_set: 35-17,35-27,2-0"]
)
def test_the_yaml_of_qrhead(tmp_path: Path, text: str) -> None:
    path = tmp_path / "qr_heads.yaml"
    path.write_text(text)
    ranking = read_ranking(path)
    assert ranking.candidates("any") == (Head(35, 17), Head(35, 27), Head(2, 0))
    assert (ranking.method, ranking.source) == ("order of the list, without scores", "qr_heads.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('attn_head_set: "full_heads"', r"attn_head_set\[0\]: head 'full_heads'; expected layer and head"),
        ('attn_head_set: "1-2,1-2"', r"attn_head_set\[1\]: L1H2 again, after attn_head_set\[0\]"),
        ("attn_head_set: [1-2]", r"attn_head_set: \['1-2'\]; expected a text"),
        ("heads: 1-2", r"no attn_head_set; expected QRHead's .* or another format as JSON: .*tasks"),
        ("- [1, 2]", "no attn_head_set; expected QRHead's"),
        ("a: [1", r"no YAML: while parsing a flow sequence; expected QRHead's attn_head_set"),
    ],
)
def test_a_yaml_that_is_none_of_qrhead(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "qr_heads.yml"
    path.write_text(text)
    with pytest.raises(HeadsError, match=rf"qr_heads\.yml: {message}"):
        read_ranking(path)


def test_a_flat_list_without_scores_says_so(tmp_path: Path) -> None:
    ranking = read_ranking(write(tmp_path, [[3, 1], [0, 2]]))
    assert ranking.scored("any") == listed((3, 1, 2.0), (0, 2, 1.0))
    assert ranking.method == "order of the list, without scores"
