"""Options: how settings are asked for, by name, on a command line or in an ini file.

Every option has one entry here: its name, how its text is read (`option_values`), its default and its help, and the
option without which it does nothing. The plugin makes `--ablation-NAME` and the ini key `ablation_NAME` of it; command
line beats ini beats default. Knows nothing of pytest, reads no files, and imports next to nothing: every pytest run
that has the plugin installed imports this module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from harness.choices import GateOutcome, Insertion, Mode, Phase, RandomMatch
from harness.errors import SettingsError
from harness.files import is_file, is_folder
from harness.option_values import (
    as_address,
    as_arguments,
    as_characters,
    as_choice,
    as_cluster,
    as_depths,
    as_entries,
    as_facts,
    as_fraction,
    as_gate_k,
    as_integer,
    as_integers,
    as_margin,
    as_names,
    as_part,
    as_path,
    as_run_name,
    as_strata,
    as_switch,
)
from harness.settings import DEMO, EngineName, Quantization, Scorer, Settings, Value


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `name` with hyphens, how text becomes a value, and what to say of it.

    `needs` is the name of the option without which it does nothing, where there is one.
    """

    name: str
    parse: Callable[[str], Value]
    help: str
    metavar: str
    switch: bool = False
    needs: str | None = None

    @property
    def field(self) -> str:
        """The field of `Settings` that it sets."""
        return self.name.replace("-", "_")

    def told(self, prefix: str) -> str:
        """Its help, for options that are typed with this prefix."""
        return self.help if self.needs is None else f"{self.help}; only with {prefix}{self.needs}"


@dataclass(frozen=True, slots=True)
class Given:
    """What was given for an option: where, the value, and the folder that relative paths in it are taken from.

    `standing` tells that nobody typed it for this command: it stands in a file, say, for every command of a project.
    """

    where: str
    value: Value
    folder: Path
    standing: bool = False


OPTIONS: tuple[Option, ...] = (
    Option("model", str, "folder, GGUF file or hub id of the model (default: the embedded demo)", "MODEL"),
    Option("revision", str, "revision of a hub model", "REV", needs="model"),
    Option(
        "dtype",
        as_choice("auto", "bfloat16", "float16", "float32", "float64"),
        "dtype of the weights (default: float32 on a CPU, the checkpoint's on a GPU)",
        "DTYPE",
    ),
    Option(
        "device-map",
        str,
        "auto, cpu, cuda, devices, or JSON of modules and devices (default: the GPU where there is one)",
        "MAP",
    ),
    Option(
        "gpus",
        as_integer(1),
        "GPUs that one model takes, its layers split over them (default: 1; with device-map auto, all)",
        "N",
    ),
    Option(
        "ray",
        as_address,
        "a cluster of Ray that the models are on: HOST:PORT of its head, `auto` for the one that this machine belongs "
        "to, or `local` for one of this machine alone (default: models in this process, or in -n workers)",
        "ADDRESS",
    ),
    Option(
        "ray-mixed",
        as_switch,
        "nodes with other versions of libraries, or other cards, serve too, and each record says so",
        "BOOL",
        switch=True,
        needs="ray",
    ),
    Option("attn", str, "attention implementation, as sdpa or eager (default: sdpa where the model allows it)", "NAME"),
    Option(
        "quantization",
        as_choice(*get_args(Quantization)),
        "quantise the weights with bitsandbytes (default: not)",
        "BITS",
    ),
    Option("adapter", as_path, "folder of a LoRA adapter to put on the model", "FOLDER"),
    Option(
        "architectures",
        as_entries,
        "where models outside the table keep their heads: model_type = layers, projection; a line each",
        "ENTRIES",
    ),
    Option(
        "template",
        as_arguments,
        "arguments of the chat template, as enable_thinking=false; semicolons between (default: thinking off)",
        "NAME=VALUE",
    ),
    Option(
        "engine",
        as_choice(*get_args(EngineName)),
        "compute a row's conditions together, or each on its own, one token at a time (default: shared)",
        "NAME",
    ),
    Option("data", as_path, "rows: a .csv, .tsv, .parquet, .jsonl or .json file (default: the demo's)", "FILE"),
    Option("task-file", as_path, "TOML file of own tasks, beside the nine", "FILE", needs="data"),
    Option("tasks", as_names, "tasks to study, with commas between (default: all that the rows hold)", "NAMES"),
    Option(
        "strict-rows", as_switch, "a row whose needle already stands in its haystack is an error", "BOOL", switch=True
    ),
    Option(
        "split-share",
        as_fraction,
        "part of the filings (whole clusters) that is for ranking heads (default: the ranking's, else 0.8)",
        "PART",
    ),
    Option("heads", as_path, "head ranking: retrieval_heads.json or a published format (default: the demo's)", "FILE"),
    Option(
        "heads-held-out",
        as_switch,
        "vouch that no filing asked about made the ranking, where its file does not say: no gate passes without",
        "BOOL",
        switch=True,
        needs="heads",
    ),
    Option("k", as_integers, "numbers of heads to ablate (default: 1,2,5,10,20)", "K,K,..."),
    Option("depth", as_depths, "where the needle stands, 0 to 1; several make a sweep (default: 0.5)", "D,D,..."),
    Option(
        "seq-len",
        as_integer(1),
        "most tokens of a whole prompt: longer ones lose text around the needle, shorter ones stay (default: no limit)",
        "N",
    ),
    Option(
        "insertion",
        as_choice(*get_args(Insertion)),
        "needle at a sentence boundary, or at the character (default: sentence)",
        "HOW",
    ),
    Option("max-new-tokens", as_integer(1), "most tokens of a completion (default: 20)", "N"),
    Option("max-rows", as_integer(1), "most rows, whole filings only (default: all)", "N"),
    Option(
        "seed",
        as_integer(0),
        "seed of the random controls, and of the split where the ranking has none (default: 0)",
        "N",
    ),
    Option("random-draws", as_integer(1), "number of random controls at each k (default: 5)", "N"),
    Option(
        "random-match",
        as_choice(*get_args(RandomMatch)),
        "draw control heads from the whole pool or layer by layer (default: uniform)",
        "HOW",
    ),
    Option(
        "mode",
        as_choice(*get_args(Mode)),
        "what ablated heads put out: nothing, their mean over the identification rows, what they put out on another "
        "filing, with its own needle or this row's, nothing before the answer and there what they always do, or what "
        "they do without attention to the needle, to as many other tokens, or to others of as much attention (default: "
        "zero)",
        "WHAT",
    ),
    Option(
        "phase",
        as_choice(*get_args(Phase)),
        "ablate at every token, or from the prompt's last token on (default: all)",
        "WHEN",
    ),
    Option("scorer", as_choice(*get_args(Scorer)), "the scoring rule that decides `matches` (default: value)", "RULE"),
    Option("gate-k", as_gate_k, "number of heads that gates judge, or `band` for all k (default: the largest k)", "K"),
    Option("gate-draws", as_integer(2), "a gate's controls, and its permutations (default: 19)", "N"),
    Option("gate-strata", as_strata, "permute heads within a `layer`, N layers, or the `model` (default: layer)", "N"),
    Option(
        "gate-margin",
        as_margin,
        "a gate's heads must cost more than controls by more than this part of the right answers (default: 0.1)",
        "PART",
    ),
    Option("gate-margin-own", as_margin, "the same, for each task's own heads (default: gate-margin)", "PART"),
    Option("gate-margin-shared", as_margin, "the same, for the shared heads (default: gate-margin)", "PART"),
    Option("gate-margin-global", as_margin, "the same, for the global heads (default: gate-margin)", "PART"),
    Option("gate-flat", as_fraction, "the part of the right answers that controls may cost (default: 0.1)", "PART"),
    Option(
        "gate-outcome",
        as_choice(*get_args(GateOutcome)),
        "judge right answers, or how likely the right value is where the untouched model says it (default: accuracy)",
        "WHAT",
    ),
    Option("gate-tasks", as_switch, "a gate fails too where one of its tasks alone does not pass", "BOOL", switch=True),
    Option(
        "facts",
        as_facts,
        "ask gates' heads, zeroed, questions that need no document too: `ours`, or a TOML file (default: not)",
        "FILE",
    ),
    Option("reports", as_path, "folder of the reports (default: reports)", "FOLDER"),
    Option("run", as_run_name, "name of this run's folder in it (default: latest)", "NAME"),
    Option(
        "no-texts",
        as_switch,
        "keep questions, needles and the text around them out of the report and its page",
        "BOOL",
        switch=True,
    ),
    Option(
        "annotate",
        as_switch,
        "say which gates did not pass as annotations of a GitHub workflow",
        "BOOL",
        switch=True,
    ),
    Option("store", as_path, "file of the store of records (default: store.sqlite in the reports' folder)", "FILE"),
    Option("refresh", as_switch, "compute again what the store already holds", "BOOL", switch=True),
    Option("dry-run", as_switch, "say what would be computed and what it would cost, and stop", "BOOL", switch=True),
    Option(
        "part",
        as_part,
        "do part I of N of the study into a store of its own, and judge nothing; `retrieval-heads merge` puts the "
        "stores together (default: do it whole)",
        "I/N",
    ),
    Option(
        "cluster",
        as_cluster,
        "nodes of a cluster, as 8xH100-80GB,2x4xA100-40GB, to tell how the study would be laid out on it",
        "NODES",
        needs="dry-run",
    ),
    Option(
        "bench",
        as_path,
        "JSON of `retrieval-heads bench`, to tell the hours at its pace",
        "FILE",
        needs="dry-run",
    ),
)
"""Every option, in the order of the help."""


def resolve_settings(given: Mapping[str, Given], project: Path) -> Settings:
    """Settings from what was given, by the option's name.

    Text is read by the option's own rule; where nothing is given, paths are taken from the folder of the project.
    Raises SettingsError, naming where the value was given.
    """
    values: dict[str, Value] = {}
    for option in OPTIONS:
        if option.name not in given:
            continue
        where, value = given[option.name].where, given[option.name].value
        try:
            read = option.parse(as_characters(value)) if isinstance(value, str) else value
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from None
        values[option.field] = read
    _check_partners(given, values)
    settings = Settings(**values)  # type: ignore[arg-type]  # each option's rule gives its field's type
    if "phase" in values and settings.phase != values["phase"]:
        raise SettingsError(
            f"{given['phase'].where}: {values['phase']}; expected {settings.phase} with the mode {settings.mode}, "
            "which says itself from which token on heads are ablated; leave the phase out"
        )
    if settings.facts is not None and (settings.mode, settings.phase) != ("zero", "all"):
        raise SettingsError(
            f"{given['facts'].where}: with mode {settings.mode} and phase {settings.phase}; expected heads that are "
            "zeroed at every token; leave the facts out, or the mode and the phase"
        )
    if settings.ray is not None and settings.part is not None:
        raise SettingsError(
            f"{given['part'].where}: given with {given['ray'].where}; expected one of the two, as Ray hands all rows "
            "out; leave the part out, or Ray"
        )
    if settings.ray is not None and settings.device_map not in (None, "auto", "cuda", "cpu"):
        raise SettingsError(
            f"{given['device-map'].where}: {settings.device_map} with Ray, which says itself which GPUs a model gets; "
            "expected auto, cuda or cpu; name no devices, and with --ablation-gpus how many"
        )
    typed = "gpus" in given and not given["gpus"].standing
    if typed and not settings.cluster and settings.device_map not in (None, "auto", "cuda"):
        raise SettingsError(
            f"{given['gpus'].where}: {settings.gpus} with the device map {settings.device_map}, which names what is "
            "used; expected one of the two; leave the number out, or the map"
        )
    if max(settings.judged_ks) > max(settings.k):
        raise SettingsError(
            f"{given['gate-k'].where}: {settings.gate_k}; expected at most the largest k, {max(settings.k)}"
        )
    folders = {option.field: given[option.name].folder for option in OPTIONS if option.name in given}
    placed = {
        name: folders.get(name, project) / value for name, value in vars(settings).items() if isinstance(value, Path)
    }
    model = _model(settings.model, folders.get("model", project))
    run = settings.run if "run" in values else settings.part_name or settings.run
    settings = Settings(**{**vars(settings), **placed, "model": model, "run": run})
    return replace(settings, store=settings.store_file)


def _check_partners(given: Mapping[str, Given], values: Mapping[str, Value]) -> None:
    """Raise a SettingsError where an option was typed that does nothing without another, and that was not given.

    What stands in a file is for every command of a project, and waits for one that has its partner.
    """
    partners = {option.name: option.needs for option in OPTIONS if option.needs is not None}
    for name, partner in partners.items():
        one, beside = given.get(name), values.get(partner.replace("-", "_"), False)
        if one is not None and not one.standing and beside is False:
            raise SettingsError(given_without(one.where, one.where.removesuffix(name) + partner))


def given_without(where: str, partner: str) -> str:
    """What is said of an option that does nothing because its partner is not given; both as they are typed."""
    return (
        f"{where}: given without {partner}; expected {partner} beside it, for alone it does nothing; add {partner}, or "
        f"leave {where} out"
    )


def _model(model: str, folder: Path) -> str:
    """A folder or GGUF file that is there as an absolute path; anything else as it stands."""
    place = folder / model
    there = is_folder(place) or (place.suffix.lower() == ".gguf" and is_file(place))
    return str(place) if model != DEMO and there else model
