"""What runs the documents' blocks fails where a document says what is not so; the README is short."""

import re
from pathlib import Path

import pytest
from documents import ROOT, Block, BlockError, blocks_of, copy_of_checkout, missing_line, pages, perform


def block(language: str, text: str, said: tuple[str, str] | None = None) -> Block:
    return Block("page.md", 1, language, text, said)


def test_blocks_and_what_comments_say_of_them() -> None:
    page = (
        "# Page\n\n```bash\nls\n```\n\n<!-- not run: needs\na GPU -->\n```bash\nrun\n```\n\n"
        "- a list\n\n  <!-- file: a.ini -->\n  ```ini\n  [pytest]\n  ```\n\n```{include} other.md\n```\n"
    )
    first, second, third = blocks_of(page, "page.md")
    assert (first.language, first.text, first.line, first.said) == ("bash", "ls\n", 3, None)
    assert second.said == ("not run", "needs a GPU")
    assert (third.text, third.said) == ("[pytest]\n", ("file", "a.ini"))


@pytest.mark.parametrize("comment", ["<!-- skip -->", "<!-- not run: -->", "<!-- not run -->"])
def test_a_block_is_not_left_out_without_a_reason(comment: str) -> None:
    with pytest.raises(BlockError, match=r"page\.md:2.*expected 'not run:'"):
        blocks_of(f"{comment}\n```bash\nls\n```\n", "page.md")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (block("bash", "echo one\nfalse\necho two\n"), "exit code 1; expected 0"),
        (block("bash", "true\n", ("exit code", "1")), "exit code 0; expected 1"),
        (block("python", "from harness import Nobody\n"), "exit code 1"),
        (block("console", "$ echo one\ntwo\n"), "not printed: two"),
        (block("console", "$ printf 'b\\na\\n'\na\nb\n"), "not printed: b"),
        (block("console", "$ false\n$ true\n"), "exit code 1; expected 0"),
        (block("console", "one\n"), "expected a command first"),
        (block("toml", "a = 1\n"), "neither run nor saved"),
        (block("", "pytest evals\n"), "looks like a command"),
        (block("bash", "ls\n", ("run by", "ci")), "'ls' is not a line of ci"),
        (block("ini", "", ("file", "../out.ini")), "expected a file in the checkout"),
    ],
)
def test_what_is_not_so_fails(tmp_path: Path, bad: Block, reason: str) -> None:
    (tmp_path / "ci").write_text("lsof\n", encoding="utf-8")
    with pytest.raises(BlockError, match=re.escape(reason)):
        perform(bad, tmp_path)
    assert not (tmp_path.parent / "out.ini").exists()


def test_what_is_so_passes(tmp_path: Path) -> None:
    (tmp_path / "ci").write_text("if true; then\n  ls\nfi\n", encoding="utf-8")
    good = [
        block("python", "x = 1\n", ("file", "a/b.py")),
        block("bash", "cat a/b.py\n"),
        block(
            "console",
            "$ printf 'one\\nskipped\\n== 2 passed in 1.25s ==\\n' \\\n  && echo three\none\n...\n2 passed\nthree\n",
        ),
        block("bash", "exit 3\n", ("exit code", "3")),
        block("bash", "ls # a comment\n", ("run by", "ci")),
        block("bash", "nothing_like_it\n", ("not run", "there is none")),
        block("text", "a picture\n"),
    ]
    assert [perform(each, tmp_path).what for each in good] == [
        "saved", "ran", "ran", "ran", "elsewhere", "not run", "shown",
    ]  # fmt: skip


def test_shown_lines_are_looked_for_in_their_order() -> None:
    assert missing_line(["a  1", "...", "c"], "a 1\nb\nc\n") is None
    assert missing_line(["c", "a 1"], "a 1\nb\nc\n") == "a 1"
    assert missing_line(["a"], "ab\n") == "a"


def test_the_scratch_copy_holds_what_a_clone_would(tmp_path: Path) -> None:
    store = tmp_path / "of_a_study.sqlite"
    store.write_text("records", encoding="utf-8")
    copy_of_checkout(tmp_path, store)
    assert (tmp_path / "reports" / "store.sqlite").read_text(encoding="utf-8") == "records"
    assert (tmp_path / "evals" / "test_hooks.py").is_file()
    assert (tmp_path / ".ci" / "run").is_file()
    assert not (tmp_path / ".git").exists()
    assert not list(tmp_path.rglob("__pycache__"))


def test_every_page_can_be_taken_apart() -> None:
    """Also the pages whose commands CI alone runs: each comment before a block is one that means something."""
    found = [each for page in pages() for each in blocks_of(page.read_text(encoding="utf-8"), page.name)]
    assert {each.said[0] for each in found if each.said} == {"file", "run by", "exit code", "not run"}


def test_the_readme_is_a_page() -> None:
    """At most 1,000 words outside of blocks, pictures and comments, and 150 lines in all."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    prose = re.sub(r"^```.*?^```$|<!--.*?-->|^!\[[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    words = re.findall(r"\w+", re.sub(r"\]\([^)]*\)", "]", prose))
    assert len(words) <= 1000
