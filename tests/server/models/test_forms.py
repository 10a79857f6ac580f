"""Texts that have a form, by a model of random weights: whatever it would like to write, the form is kept."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from server.errors import ErrorCode, PredictionError
from server.models.forms import Forms
from server.models.requests import Sampling
from tests.support.generators import LENGTH, STOP, Generators, prompts, random_model, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.generators import Source

VOCABULARY = 300
WORDS = [
    b'{"',
    b'":',
    b'","',
    b'"},',
    b"true",
    b"false",
    b"null",
    b"[[",
    b"]]",
    b"name",
    b"the ",
    b"12",
    b'"a"',
    b"\xc3\xa9",
]
TABLE = [*(bytes([byte]) for byte in range(256)), *WORDS, *(b"w%d" % n for n in range(VOCABULARY - 256 - len(WORDS)))]
END = VOCABULARY - 1
LARK = 'start: greeting " " NAME\ngreeting: "hello" | "bye"\nNAME: /[A-Z][a-z]{1,5}/'
SAMPLED = {"temperature": 1.5, "max_tokens": 700}


def random_schema(chosen: random.Random, depth: int = 3) -> dict[str, Any]:
    """One whose every text ends."""
    kinds = ["string", "integer", "boolean", "null", "enum", "const", "pattern"]
    kind = chosen.choice(kinds + ["object", "object", "array", "anyOf"] * (depth > 0))
    if kind == "object":
        names = chosen.sample(["name", "age", "a b", "é", 'q"uote', "tags", "x"], chosen.randint(1, 4))
        required = [name for name in names if chosen.random() < 0.6]
        properties = {name: random_schema(chosen, depth - 1) for name in names}
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if kind == "array":
        least = chosen.randint(0, 2)
        of = {"items": random_schema(chosen, depth - 1), "minItems": least, "maxItems": least + chosen.randint(0, 2)}
        return {"type": "array", **of}
    if kind == "anyOf":
        return {"anyOf": [random_schema(chosen, depth - 1) for _ in range(chosen.randint(2, 3))]}
    least = chosen.randint(-1000, 1000)
    simple: dict[str, dict[str, Any]] = {
        "string": {"type": "string", "minLength": chosen.randint(0, 3), "maxLength": chosen.randint(3, 9)},
        "integer": {"type": "integer", "minimum": least, "maximum": least + chosen.randint(0, 5000)},
        "enum": {"enum": chosen.sample(["red", "green", 5, -1.5, None, True, ["a"], {"b": 1}], 3)},
        "const": {"const": chosen.choice(["fixed", 17, [1, 2], {"k": "v"}])},
        "pattern": {"type": "string", "pattern": chosen.choice(["^[a-f]{2,5}$", "^(yes|no)$", "^\\d{3}-\\d{2}$"])},
    }
    return simple.get(kind, {"type": kind})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source_of(random_model(n_positions=1024), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=[(), (END,)], ids=["no end token", "an end token"])
def generators(request: pytest.FixtureRequest, source: Source) -> Iterator[Generators]:
    with Generators(source, TABLE, request.param, slots=16, max_tokens=1024, queue_tokens=1 << 20) as engine:
        yield engine


def forms_of(generators: Generators) -> Forms:
    return Forms(generators.native.bytes_of, VOCABULARY, (END,))


def sampling(**options: Any) -> Sampling:
    return Sampling(20, 1.0, 0, 1.0, 1.0, (), 1, **options)


def test_200_random_schemas(generators: Generators) -> None:
    """All at once, in 16 slots, beside texts without a form, which are what they are alone."""
    chosen = random.Random(7)
    schemas = [random_schema(chosen) for _ in range(200)]
    forms = forms_of(generators)
    asked = prompts()
    alone = generators.tokens(asked, 60, temperature=1.0)
    generators.submitted, generators.outcomes = 0, {}
    for number, schema in enumerate(schemas):
        form = forms.form(sampling(json_schema=json.dumps(schema)))
        generators.submit(prompts()[number % 8], seed=number, form=form, **SAMPLED)
        if number % 25 == 0:
            generators.submit(asked[number // 25], 60, temperature=1.0)
    answers = [value for _, value in generators.wait()]
    mates = [answers.pop(place) for place in range(1, 1 + 25 * 8, 25)]
    assert [tokens for _, tokens, _, _ in mates] == alone
    for schema, (text, _, finish, _) in zip(schemas, answers, strict=True):
        assert finish != LENGTH, (schema, text)
        jsonschema.validate(json.loads(text), schema)


def test_a_text_with_a_form_does_not_depend_on_its_batch_mates(generators: Generators) -> None:
    forms = forms_of(generators)
    schema = sampling(json_schema='{"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 4}')

    def texts(count: int) -> list[str]:
        generators.submitted, generators.outcomes = 0, {}
        for prompt in prompts(count):
            generators.submit(prompt, seed=3, form=forms.form(schema), **SAMPLED | {"max_tokens": 80})
        return [value[0] for _, value in generators.wait()]

    together = texts(8)
    assert texts(1) == together[:1]
    assert len(set(together)) > 1


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"regex": r"[a-c]{3}[0-9]+z"}, r"[a-c]{3}[0-9]+z"),
        ({"grammar": LARK}, "(hello|bye) [A-Z][a-z]+"),
        ({"grammar": 'root ::= "yes" | "no" digits\ndigits ::= [0-9] [0-9]'}, r"yes|no[0-9][0-9]"),
    ],
)  # fmt: skip
def test_regular_expressions_and_grammars(generators: Generators, options: dict[str, str], pattern: str) -> None:
    forms = forms_of(generators)
    generators.submitted, generators.outcomes = 0, {}
    for seed in range(20):
        generators.submit([1, 2], seed=seed, form=forms.form(sampling(**options)), **SAMPLED)
    answers = [value for _, value in generators.wait()]
    for text, _, finish, _ in answers:
        assert re.fullmatch(pattern, text) or finish == LENGTH, text
    assert STOP in [finish for _, _, finish, _ in answers]


def test_a_form_that_fails_is_its_own_trouble(generators: Generators) -> None:
    def stumble(_tokens: list[int]) -> bytes:
        raise ZeroDivisionError("in the form")

    alone = generators.tokens([[1, 2]], 20)
    generators.submitted, generators.outcomes = 0, {}
    for form in (stumble, lambda _: b"\0" * 4, lambda _: b"\0" * 40, None):
        generators.submit([1, 2], 20, **({} if form is None else {"form": form}))
    *failed, (_, value) = generators.wait()
    assert ["in the form" in failed[0][1], "another size" in failed[1][1], "no token" in failed[2][1]] == [True] * 3
    assert value[1] == alone[0]


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"json_schema": "{"}, "json_schema", "Expecting property name"),
        ({"json_schema": "[]"}, "json_schema", "expected a JSON object"),
        ({"json_schema": '{"type": "foo"}'}, "json_schema", "Invalid type: foo"),
        ({"json_schema": "[" * 60_000}, "json_schema", ""),
        ({"json_schema": '{"type": "string", "pattern": "(a"}'}, "json_schema", ""),
        ({"json_schema": '{"$ref": "http://example.com/x"}'}, "json_schema", ""),
        ({"regex": "(a"}, "regex", "invalid regex"),
        ({"grammar": "start: missing"}, "grammar", ""),
        ({"grammar": "no grammar"}, "grammar", ""),
        ({"grammar": ""}, "grammar", "No 'root' rule found"),
        ({"grammar": 'a ::= "b"'}, "grammar", "No 'root' rule found"),
        ({"regex": "a", "grammar": "b"}, "grammar", "give this or regex"),
    ],
)
def test_what_is_refused(generators: Generators, options: dict[str, str], field: str, message: str) -> None:
    with pytest.raises(PredictionError) as caught:
        forms_of(generators).form(sampling(**options))
    assert (caught.value.code, caught.value.field) == (ErrorCode.INVALID_ARGUMENT, f"generation_options.{field}")
    assert message in caught.value.message
