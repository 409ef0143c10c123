"""Keys: everything that an answer depends on makes another one, and nothing else does."""

from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.heads import Head
from harness.experiment.keys import RunKey, job_key, means_key, tokens_digest
from harness.experiment.plan import Job

JOB = Job("f1/ceo", frozenset({Head(17, 24), Head(3, 1)}))
RUN = RunKey("abc", None, "float32", "sdpa", "cpu", "reference-1", 20, "2.13.0", "5.1.0")
OTHERS = [replace(RUN, **{field.name: "x"}) for field in fields(RunKey)]  # type: ignore[arg-type]  # any other value


def test_the_key_depends_on_everything_and_on_nothing_else() -> None:
    key = job_key(RUN, JOB, tokens_digest([1, 2], [3]))
    assert len(key) == 64
    assert key == job_key(RUN, replace(JOB, heads=frozenset({Head(3, 1), Head(17, 24)})), tokens_digest((1, 2), (3,)))
    assert key == job_key(RUN, replace(JOB, row_id="another row of equal prompt and value"), tokens_digest([1, 2], [3]))
    others = {job_key(other, JOB, tokens_digest([1, 2], [3])) for other in OTHERS}
    others |= {
        job_key(RUN, replace(JOB, heads=frozenset()), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, heads=frozenset({Head(17, 24)})), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, prompt="needle_absent"), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, mode="mean"), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, phase="decode"), tokens_digest([1, 2], [3])),
        job_key(RUN, JOB, tokens_digest([1, 2], [3]), "what its heads put out instead"),
        job_key(RUN, JOB, tokens_digest([1], [2, 3])),
        job_key(RUN, JOB, tokens_digest([1, 2], [])),
        job_key(RUN, JOB, tokens_digest([12], [3])),
    }
    assert len(others) == len(OTHERS) + 9
    assert key not in others


@settings(derandomize=True, deadline=None)
@given(st.permutations([Head(layer, head) for layer in range(12) for head in range(12)]))
def test_the_key_does_not_depend_on_how_a_set_was_filled(heads: list[Head]) -> None:
    first = job_key(RUN, Job("r", frozenset(sorted(heads))), tokens_digest([], []))
    assert job_key(RUN, Job("r", frozenset(heads)), tokens_digest([], [])) == first


def test_a_key_is_the_same_on_every_machine() -> None:
    assert (
        job_key(RUN, JOB, tokens_digest([1, 2], [3]))
        == "97ecd96b2da1af14c141df6a9a222fb3369fc88740f4b897b36a2515566cdd52"
    )


def test_means_depend_on_the_model_and_the_prompts_alone() -> None:
    key = means_key(RUN, ["a", "b"])
    assert key == means_key(replace(RUN, engine="x", max_new_tokens=3), iter(["a", "b"]))
    others = [
        means_key(RUN, ["b", "a"]),
        means_key(RUN, ["ab"]),
        *(
            means_key(other, ["a", "b"])
            for other in OTHERS
            if (other.engine, other.max_new_tokens) == (RUN.engine, RUN.max_new_tokens)
        ),
    ]
    assert len({key, *others}) == 1 + 2 + len(OTHERS) - 2
