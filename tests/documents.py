"""Documents say what is so: every block of commands or code in them is run.

    python -m tests.documents                  README.md and all of docs/
    python -m tests.documents docs/speed.md    these alone
    python -m tests.documents --store reports/store.sqlite    what this store holds is not computed again

A page's blocks run one after the other in a scratch copy of the checkout, two pages at a time. Each
block of these languages is

- `bash`: run as a script that stops at the first error;
- `console`: each command after `$ ` is run, and the lines shown below it must be printed, in that order; a line of
  `...` stands for anything, and times and the width of rulers do not count;
- `python`: run as a program, or saved;
- `ini`, `toml`: saved.

A comment on the line before says what is otherwise:

- `<!-- file: PATH -->`: save the block there, for the commands after it;
- `<!-- exit code: N -->`: the last command ends with this one, not 0;
- `<!-- run by: FILE -->`: this file of the project runs these lines, and must hold each of them;
- `<!-- not run: REASON -->`.

Nothing is skipped in silence: a block in no language that looks like a command, a file that nothing is said of, a
comment that is none of these and a command that fails all end the run with exit code 1. Knows nothing of what the
documents are about.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SECONDS = 600
"""After which a block is ended, and has failed."""
PROGRAMS, FILES, SHOWN = ("bash", "console", "python"), ("ini", "toml"), ("", "text", "json")
_COMMENT = re.compile(r"<!--\s*(not run|run by|file|exit code):\s*(\S.*?)\s*-->", re.DOTALL)
_LIKE_A_COMMAND = re.compile(r"^(\$ |(pip|python|pytest|retrieval-heads|git|ruff|sphinx-build)\b)", re.MULTILINE)


class BlockError(Exception):
    """A block that does not do what its document says."""


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language and text, and what the comment before it says."""

    file: str
    line: int
    language: str
    text: str
    said: tuple[str, str] | None = None

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    @property
    def first_line(self) -> str:
        """What to call it by."""
        return self.text.partition("\n")[0]


@dataclass(frozen=True)
class Done:
    """What came of a block: `ran`, `saved`, `elsewhere` or `not run`, and what there is to say of it."""

    block: Block
    what: str
    note: str
    seconds: float

    def tell(self) -> None:
        """Print it as a line; what is only shown needs none."""
        if self.what != "shown":
            print(f"{self.seconds:6.1f} s  {self.block.where:24} {self.what}: {self.note}", flush=True)


def blocks_of(text: str, file: str) -> list[Block]:
    """Every fenced block that is for a reader: directives of the documents' generator are none.

    Raises:
        BlockError: a comment before a block that says nothing known.
    """
    found = []
    tokens = MarkdownIt().parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type != "fence" or token.info.startswith("{"):
            continue
        line = (token.map or [0])[0] + 1
        said = None
        if before is not None and before.type == "html_block":
            comment = _COMMENT.fullmatch(before.content.strip())
            if comment is None:
                raise BlockError(
                    f"{file}:{line}: {before.content.strip()!r} before a block; expected 'not run:', 'run by:', "
                    "'file:' or 'exit code:' and what is meant"
                )
            said = (comment[1], " ".join(comment[2].split()))
        found.append(Block(file, line, token.info.strip(), token.content, said))
    return found


def perform(block: Block, folder: Path) -> Done:
    """Run or save a block in the scratch copy.

    Raises:
        BlockError: it fails, prints something else than is shown, or is nothing that could be run.
    """
    start = time.perf_counter()
    match block.said:
        case ("not run", reason):
            return Done(block, "not run", reason, 0.0)
        case ("run by", name):
            _check_runs(folder / name, block)
            return Done(block, "elsewhere", f"by {name}", 0.0)
        case ("file", name):
            _save(block, folder, name)
            return Done(block, "saved", name, 0.0)
    if block.language in SHOWN:
        if _LIKE_A_COMMAND.search(block.text):
            raise BlockError(f"{block.where}: looks like a command; give it a language: bash or console")
        return Done(block, "shown", "", 0.0)
    if block.language not in PROGRAMS:
        raise BlockError(
            f"{block.where}: {block.language}: neither run nor saved; say which file it is, <!-- file: PATH -->, "
            "or why it is not run, <!-- not run: REASON -->"
        )
    expected = int(block.said[1]) if block.said else 0
    if block.language == "console":
        _converse(block, folder, expected)
    else:
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
        _run([*program, block.text], folder, expected, block)
    return Done(block, "ran", block.first_line, time.perf_counter() - start)


def missing_line(shown: Sequence[str], printed: str) -> str | None:
    """The first shown line that is not printed, after those before it; `None` where all are."""
    rest = iter([_plain(line) for line in printed.splitlines()])
    for line in shown:
        plain = _plain(line)
        if plain and plain != "..." and plain not in rest:
            return line
    return None


def _plain(line: str) -> str:
    """Without times, rulers and spaces that line things up."""
    line = re.sub(r" in \d+\.\d+s( \([\d:]+\))?", "", line)
    return " ".join(re.sub(r"={2,}|-{4,}", " ", line).split())


def _converse(block: Block, folder: Path, expected: int) -> None:
    turns = list(_turns(block))
    for number, (command, shown) in enumerate(turns, start=1):
        last = number == len(turns)
        printed = _run(["bash", "-euo", "pipefail", "-c", command], folder, expected if last else 0, block)
        if (line := missing_line(shown, printed)) is not None:
            raise BlockError(f"{block.where}: {command}\nnot printed: {line}\n{_tail(printed)}")


def _turns(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command and the lines shown below it; a command goes on after a backslash at a line's end."""
    command, shown = "", list[str]()
    for line in block.text.splitlines():
        if command.endswith("\\"):
            command = f"{command}\n{line}"
        elif line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], []
        elif not command:
            raise BlockError(f"{block.where}: {line!r}; expected a command first, after '$ '")
        else:
            shown.append(line)
    yield command, shown


def _run(arguments: Sequence[str], folder: Path, expected: int, block: Block) -> str:
    """What it printed.

    Raises:
        BlockError: another exit code than expected, or too long.
    """
    try:
        done = subprocess.run(
            arguments, cwd=folder, env=_environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BlockError(f"{block.where}: still running after {SECONDS} s: {block.first_line}") from None
    if done.returncode != expected:
        raise BlockError(
            f"{block.where}: exit code {done.returncode}; expected {expected}: {block.first_line}\n{_tail(done.stdout)}"
        )
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    """The scratch copy's code first, one thread, no network."""
    fixed = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    return {**os.environ, **fixed}


def _tail(printed: str) -> str:
    return "\n".join(f"  | {line}" for line in printed.splitlines()[-40:])


def _save(block: Block, folder: Path, name: str) -> None:
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise BlockError(f"{block.where}: {name}; expected a file in the checkout")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(block.text, encoding="utf-8")


def _check_runs(file: Path, block: Block) -> None:
    lines = {line.strip() for line in file.read_text(encoding="utf-8").splitlines()}
    for line in block.text.splitlines():
        command = line.removeprefix("$ ").partition(" #")[0].strip()
        if command and command not in lines:
            raise BlockError(f"{block.where}: {command!r} is not a line of {file.name}")


def copy_of_checkout(folder: Path, store: Path | None = None) -> None:
    """What git knows or would take, copied; and this store, to where a study looks for one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if store is not None:
        shutil.copy2(store, folder / "reports" / "store.sqlite")


def pages() -> list[Path]:
    """The README and every page of the guide."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Page:
    """A page that was gone through: what came of its blocks, and what was not so, if anything."""

    done: tuple[Done, ...]
    failure: str | None


def go_through(file: Path, store: Path | None = None) -> Page:
    """Run a page's blocks in a scratch copy of its own, with a copy of the store, up to the first that fails."""
    done = list[Done]()
    with tempfile.TemporaryDirectory(prefix="documents-") as scratch:
        copy_of_checkout(Path(scratch), store)
        try:
            for block in blocks_of(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT))):
                done.append(perform(block, Path(scratch)))
        except BlockError as error:
            return Page(tuple(done), str(error))
    return Page(tuple(done), None)


def main() -> int:
    """Run what the documents say; 1 where something is not so."""
    parser = argparse.ArgumentParser(prog="python -m tests.documents", description="run every block of the documents")
    parser.add_argument("files", nargs="*", type=Path, help="documents (default: README.md and docs/)")
    parser.add_argument("--store", type=Path, metavar="FILE", help="of a study: what it holds is not computed again")
    arguments = parser.parse_args()
    files = [file.resolve() for file in arguments.files] or pages()
    start, done, failed = time.perf_counter(), list[Done](), 0
    with ThreadPoolExecutor(2) as pool:
        for page in pool.map(partial(go_through, store=arguments.store), files):
            for each in page.done:
                each.tell()
            if page.failure is not None:
                print(f"FAILED  {page.failure}", flush=True)
            done += page.done
            failed += page.failure is not None
    counts = {what: sum(each.what == what for each in done) for what in ("ran", "saved", "elsewhere", "not run")}
    told = ", ".join(f"{n} {what}" for what, n in counts.items())
    print(f"{told}; {time.perf_counter() - start:.0f} s; {failed} of {len(files)} documents failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
