"""Options of calls, checked: their ranges, and that the model takes them. `field` is their path in the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from predictor.ttypes import Aggregation, TruncationSide, VectorEncoding

from process import options as table
from server.errors import invalid_argument
from server.models.requests import AS_IT_IS, Classification, Reading, ReplyFilter, Tagging
from server.models.vectors import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from predictor.ttypes import (
        ClassifyOptions,
        EmbedOptions,
        ReplyOptions,
        RerankOptions,
        SparseOptions,
        TokenizeOptions,
        TokenOptions,
    )

    from process.options import Option
    from server.models.model import Model

_ALL_REPLIES = ReplyFilter()
_EVERY_NUMBER = Shape()
_SIDES = {value: name.lower() for value, name in TruncationSide._VALUES_TO_NAMES.items()}
_AGGREGATIONS = {value: name.lower() for value, name in Aggregation._VALUES_TO_NAMES.items()}
_OF_MODELS = (table.TRUNCATION_SIDE, table.SPLIT, table.PROMPT_NAME, table.PROMPT)
_OF_CLASSIFIERS = (table.RAW_SCORES, table.MULTI_LABEL)


class Labelling(NamedTuple):
    """What a call of classify wants."""

    classification: Classification
    top_k: int | None
    candidate_labels: tuple[str, ...] = ()
    """Empty: the model's own labels."""
    hypothesis_template: str = table.HYPOTHESIS_TEMPLATE.default


_OWN_LABELS = Labelling(Classification(), None)


class Ranking(NamedTuple):
    """What a call of rerank wants."""

    top_n: int | None = None
    raw_scores: bool = False
    truncate: bool = True


class SparseForm(NamedTuple):
    """What a call of embed_sparse wants of a vector."""

    max_active_dims: int | None = None
    tokens: bool = False


def reply_filter(options: ReplyOptions | None) -> ReplyFilter:
    """Which replies the call asks for. Raises INVALID_ARGUMENT."""
    if options is None:
        return _ALL_REPLIES
    _check_numbers(options, (table.MAX_REPLIES, table.THRESHOLD), "reply_options")
    return ReplyFilter(options.max_replies, options.threshold)


def reading(options: EmbedOptions | SparseOptions | None, model: Model, field: str = "embed_options") -> Reading:
    """How the model is to read texts. Raises INVALID_ARGUMENT."""
    if options is None:
        return AS_IT_IS
    side = options.truncation_side
    if side is not None:
        _check_enum(side, _SIDES, f"{field}.truncation_side")
    split = getattr(options, "split", None) or False
    if split and options.truncate is not None:
        raise invalid_argument("give this or truncate", field=f"{field}.split")
    if options.prompt is not None and options.prompt_name is not None:
        raise invalid_argument("give this or prompt_name", field=f"{field}.prompt")
    _check_texts(options, (table.PROMPT_NAME, table.PROMPT), field)
    _check_taken(options, _OF_MODELS, model, field)
    return Reading(
        options.truncate is not False,
        None if side is None else _SIDES[side],
        split,
        options.prompt_name,
        options.prompt,
    )


def cuts_ids(options: EmbedOptions | None) -> bool:
    """Whether a text that is given as ids is cut. Raises INVALID_ARGUMENT for options of reading, which is done."""
    if options is None:
        return True
    for option in _OF_MODELS:
        if getattr(options, option.name) not in (None, option.default):
            raise invalid_argument("is for texts, not for ids", field=f"embed_options.{option.name}")
    return options.truncate is not False


def shape(options: EmbedOptions | None, model: Model, field: str = "embed_options") -> Shape:
    """What the call wants of vectors. Raises INVALID_ARGUMENT."""
    if options is None:
        return _EVERY_NUMBER
    dimensions = options.dimensions
    if dimensions is not None and (wrong := table.DIMENSIONS.wrong(dimensions, model.dimensions)):
        raise invalid_argument(f"{wrong} (the model's vectors have {model.dimensions})", field=f"{field}.dimensions")
    encoding = VectorEncoding.FLOAT32 if options.encoding is None else options.encoding
    _check_enum(encoding, VectorEncoding._VALUES_TO_NAMES, f"{field}.encoding")
    normalize = options.normalize
    if normalize is None:  # what shortening, or a mean of several vectors, leaves of length 1
        normalize = model.normalized and (dimensions is not None or bool(options.split))
    return Shape(dimensions, normalize, encoding)


def sparse_form(options: SparseOptions | None, field: str = "sparse_options") -> SparseForm:
    """What the call wants of sparse vectors. Raises INVALID_ARGUMENT."""
    if options is None:
        return SparseForm()
    _check_numbers(options, (table.MAX_ACTIVE_DIMS,), field)
    return SparseForm(options.max_active_dims, bool(options.tokens))


def labelling(options: ClassifyOptions | None, model: Model, field: str = "classify_options") -> Labelling:
    """Which labels the call asks for. Raises INVALID_ARGUMENT."""
    if options is None:
        return _OWN_LABELS
    _check_numbers(options, (table.TOP_LABELS,), field)
    truncate = options.truncate is not False
    if options.candidate_labels is None:
        if options.hypothesis_template is not None:
            raise invalid_argument("only with candidate_labels", field=f"{field}.hypothesis_template")
        _check_taken(options, _OF_CLASSIFIERS, model, field)
        classification = Classification(truncate, bool(options.raw_scores), options.multi_label)
        return Labelling(classification, options.top_k)
    _check_taken(options, (table.CANDIDATE_LABELS,), model, field)
    labels = _strings(options.candidate_labels, table.CANDIDATE_LABELS, field)
    if len(set(labels)) < len(labels):
        raise invalid_argument("has a label twice", field=f"{field}.candidate_labels")
    template = options.hypothesis_template
    if template is None:
        template = table.HYPOTHESIS_TEMPLATE.default
    _check_texts(options, (table.HYPOTHESIS_TEMPLATE,), field)
    if "{}" not in template:
        raise invalid_argument("has no {} for the label", field=f"{field}.hypothesis_template")
    classification = Classification(truncate, bool(options.raw_scores), bool(options.multi_label))
    return Labelling(classification, options.top_k, labels, template)


def ranking(options: RerankOptions | None, model: Model, field: str = "rerank_options") -> Ranking:
    """How the call wants texts to be ranked. Raises INVALID_ARGUMENT."""
    if options is None:
        return Ranking()
    _check_numbers(options, (table.TOP_N,), field)
    _check_taken(options, (table.RAW_SCORES,), model, field)
    return Ranking(options.top_n, bool(options.raw_scores), options.truncate is not False)


def tagging(options: TokenOptions | None, field: str = "token_options") -> Tagging:
    """Which entities the call asks for. Raises INVALID_ARGUMENT."""
    if options is None:
        return Tagging()
    aggregation = Aggregation.SIMPLE if options.aggregation is None else options.aggregation
    _check_enum(aggregation, _AGGREGATIONS, f"{field}.aggregation")
    ignored = Tagging().ignore_labels
    if options.ignore_labels is not None:
        ignored = frozenset(_strings(options.ignore_labels, table.IGNORE_LABELS, field))
    return Tagging(_AGGREGATIONS[aggregation], ignored, options.truncate is not False)


def special_tokens(options: TokenizeOptions | None) -> bool:
    """Whether tokens that no text has are among those that are given."""
    return options is None or options.special_tokens is not False


def _check_taken(options: Any, of_models: Sequence[Option], model: Model, field: str) -> None:
    """Refuse what is given and would be ignored. What is false by default and given so is the same as not given."""
    for option in of_models:
        value = getattr(options, option.name, None)
        if value is not None and option.name not in model.takes and not (value is False and option.default is False):
            takes = f"it takes {', '.join(sorted(model.takes))}" if model.takes else "it takes none of its kind"
            raise invalid_argument(
                f"the model (kind {model.kind}) does not take this option; {takes}", field=f"{field}.{option.name}"
            )


def _check_enum(value: int, names: Mapping[int, str], field: str) -> None:
    if value not in names:
        choices = ", ".join(f"{number} ({name.upper()})" for number, name in names.items())
        raise invalid_argument(f"must be one of {choices}, got {value}", field=field)


def _check_numbers(options: Any, checked: Sequence[Option], field: str) -> None:
    for option in checked:
        value = getattr(options, option.name)
        if value is not None and (wrong := option.wrong(value)):
            raise invalid_argument(wrong, field=f"{field}.{option.name}")


def _check_texts(options: Any, checked: Sequence[Option], field: str) -> None:
    for option in checked:
        value = getattr(options, option.name)
        if value is not None and (wrong := option.wrong(len(value))):
            raise invalid_argument(wrong, field=f"{field}.{option.name}")


def _strings(values: Sequence[str], option: Option, field: str) -> tuple[str, ...]:
    """The items of a list, each checked. Raises INVALID_ARGUMENT."""
    if wrong := option.wrong(len(values)):
        raise invalid_argument(wrong, field=f"{field}.{option.name}")
    for index, value in enumerate(values):
        if wrong := option.wrong_item(value):
            raise invalid_argument(wrong, field=f"{field}.{option.name}[{index}]")
    return tuple(values)
