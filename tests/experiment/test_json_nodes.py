from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HeadsError
from harness.experiment.json_nodes import Node, read_json


def write(folder: Path, content: bytes) -> Path:
    path = folder / "heads.json"
    path.write_bytes(content)
    return path


def test_a_piece_knows_its_place(tmp_path: Path) -> None:
    root = read_json(write(tmp_path, b'\xef\xbb\xbf{"tasks": {"ceo": [{"score": 1}, {"score": "x"}]}}'))
    piece = root.field("tasks").field("ceo").items()[1].field("score")
    assert piece.where == "heads.json: tasks.ceo[1].score"
    with pytest.raises(HeadsError, match=r"^heads\.json: tasks\.ceo\[1\]\.score: 'x'; expected a number$"):
        piece.number()
    assert root.where == "heads.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "heads.json: an empty file; expected JSON"),
        (b" \n", "heads.json: an empty file; expected JSON"),
        (b"\x89PNG\r\n\x1a\n", "heads.json: not a text file; expected JSON in UTF-8"),
        (b"\x00\x01", "heads.json: line 1, column 1: Expecting value; expected JSON"),
        (b'{"a": 1, "a": 2}', "heads.json: the key 'a' twice in one object; expected JSON without it"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(HeadsError) as error:
        read_json(write(tmp_path, content))
    assert str(error.value) == message


def test_a_cut_file_is_said_to_be_cut(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match=r"line 2, column 7: .* at the end of the file, which may be cut off"):
        read_json(write(tmp_path, b'{"a": [1,\n  2, 3'))


def test_very_deep_or_very_long_json_is_an_error(tmp_path: Path) -> None:
    for content in (b"[" * 100_000, b"9" * 10_000):
        with pytest.raises(HeadsError, match=r"^heads\.json: "):
            read_json(write(tmp_path, content))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match="No such file or directory; expected a JSON file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(HeadsError, match="Is a directory"):
        read_json(tmp_path)


def positive(node: Node) -> int:
    return node.integer(1)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (Node.number, True),
        (Node.number, None),
        (Node.number, float("nan")),
        (Node.number, float("-inf")),
        (Node.number, 10**400),
        (Node.integer, True),
        (Node.integer, 1.0),
        (Node.integer, -1),
        (positive, 0),
        (Node.text, 1),
        (Node.items, {}),
        (lambda node: node.table(Node.text), []),
        (lambda node: node.field("a"), {"b": 1}),
        (lambda node: node.field("a"), [1]),
    ],
)
def test_a_piece_of_another_kind_is_refused(read: Callable[[Node], object], value: object) -> None:
    with pytest.raises(HeadsError, match=r"^heads\.json: .*; expected "):
        read(Node(value, "heads.json"))


def test_optional_pieces_may_be_missing_or_null() -> None:
    root = Node({"a": None, "b": 0}, "heads.json")
    assert root.optional("a", Node.integer) is None
    assert root.optional("c", Node.integer) is None
    assert root.optional("b", Node.integer) == 0


def test_a_long_value_is_cut_in_messages() -> None:
    with pytest.raises(HeadsError) as error:
        Node(["x" * 500], "heads.json").text()
    assert len(str(error.value)) < 150


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, True], r"\[1\]: True; expected a number"),
        ([0.5, "1"], r"\[1\]: '1'; expected a number"),
        ([0.5, float("nan"), 1], r"\[1\]: nan; expected a finite number"),
        ([0.5, -1e308], r"\[1\]: -1e\+308; expected a number of at most 1e\+100"),
        ([1, 10**400], r"\[1\]: 10*\.\.\.; expected a finite number"),
        ("12", "'12'; expected a list"),
    ],
)
def test_a_list_of_numbers_names_the_one_that_is_none(values: object, message: str) -> None:
    with pytest.raises(HeadsError, match=f"^x: {message}$"):
        Node(values, "x").numbers()


def test_a_list_of_numbers() -> None:
    assert Node([1, 0.5, -0.0], "x").numbers() == [1.0, 0.5, -0.0]
    assert Node([], "x").numbers() == []
    assert [type(each) for each in Node([1], "x").numbers()] == [float]


def test_millions_of_numbers_are_no_pieces_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 67 MB of them took 22 s, of which Python's reader took one."""
    monkeypatch.delattr(Node, "items")
    assert Node([0.5] * 1000, "x").numbers() == [0.5] * 1000


def test_true_and_false_are_no_numbers() -> None:
    assert Node(True, "x").boolean()
    with pytest.raises(HeadsError, match="x: 1; expected true or false"):
        Node(1, "x").boolean()
