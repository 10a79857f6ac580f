"""Every option of every method, once: its type, range, default and what it does.

Thrift, HTTP, batch jobs, OpenAPI and the docs take their ranges, defaults and texts from here. A test compares the
comments in predictor.thrift with this table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Option:
    """One option. Where nothing else is said, both ends of a range belong to it.

    `minimum` and `maximum` are of a number; of a string they count its characters, and of a list its items.
    """

    name: str
    type: type
    help: str
    default: Any = None
    """What an option that is left out means; None where that is no value, or where a setting says it."""
    minimum: float | None = None
    maximum: float | None = None
    over_minimum: bool = False
    """The minimum itself does not belong to the range."""
    item_bytes: int | None = None
    """Of a list of strings: each has 1 to so many bytes in UTF-8."""
    items: Callable[[Any], Any] = str
    """Of a list: the type of its items. A dict has numbers for ids of tokens."""
    item_range: tuple[float, float] | None = None
    """Of a dict: the range of its values."""
    choices: tuple[str, ...] = ()
    maximum_of: str | None = None
    """The setting, or the field of ModelInfo.limits, that is the maximum."""
    default_of: str | None = None
    """The setting that is the default."""

    def wrong(self, value: float, maximum: float | None = None) -> str | None:
        """What is wrong with a number, or with a string's or list's length, for an error's message; None: nothing.

        `maximum` is that of the setting or model which `maximum_of` names.
        """
        most = self.maximum if maximum is None else maximum
        least = -math.inf if self.minimum is None else self.minimum
        if self.type is float and not math.isfinite(value):
            return f"must be a finite number, got {value}"
        if (least < value or (value == least and not self.over_minimum)) and (most is None or value <= most):
            return None
        if self.type in (str, list, dict):
            unit = "characters" if self.type is str else "items"
            return f"must have {self.range} {unit}, got {value}"
        if most is None:
            return f"must be at least {_number(least)}, got {value}"
        if self.over_minimum:
            return f"must be over {_number(least)} and at most {_number(most)}, got {value}"
        return f"must lie between {_number(least)} and {_number(most)}, got {value}"

    def wrong_value(self, value: float) -> str | None:
        """What is wrong with a value of a dict, likewise."""
        if self.item_range is None:
            return None
        least, most = self.item_range
        if math.isfinite(value) and least <= value <= most:
            return None
        return f"must lie between {_number(least)} and {_number(most)}, got {value}"

    def wrong_item(self, item: str) -> str | None:
        """What is wrong with an item of a list of strings, likewise."""
        size = len(item.encode())
        if self.item_bytes is None or 1 <= size <= self.item_bytes:
            return None
        return f"must have 1 to {self.item_bytes} bytes, got {size}"

    @property
    def range(self) -> str:
        """The range in words, as docs say it: "1 to 1000"; empty where there is none."""
        if self.minimum is None:
            return "" if self.maximum is None else f"at most {_number(self.maximum)}"
        most = self.maximum_of if self.maximum is None else _number(self.maximum)
        least = ("over " if self.over_minimum else "") + _number(self.minimum)
        return f"at least {least}" if most is None else f"{least} to {most}"


def _number(value: float) -> str:
    """10000 as 10,000: no decimals where there are none."""
    return f"{value:,.12g}" if value >= 10_000 else f"{value:.12g}"


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


MODEL = Option("model", str, "Name of the model, as /models lists it. Default: the first that serves the method.")
TIMEOUT_MS = Option(
    "timeout_ms",
    int,
    "Milliseconds until the caller stops waiting, time in the queue included.",
    minimum=1,
    maximum_of="max_timeout_ms",
    default_of="timeout_ms",
)
LANE = Option(
    "lane",
    str,
    "Lane of the model's queue: bulk yields to interactive.",
    default="interactive",
    choices=("interactive", "bulk"),
)
REQUEST_ID = Option("request_id", str, "Id for the server's log. Default: one is made.", maximum=128)
REQUEST_OPTIONS = _table(MODEL, TIMEOUT_MS, LANE, REQUEST_ID)

MAX_REPLIES = Option(
    "max_replies", int, "At most so many replies, the best first. Default: all of them.", minimum=1, maximum=1000
)
THRESHOLD = Option("threshold", float, "Minimum score of a reply. Default: none.")
REPLY_OPTIONS = _table(MAX_REPLIES, THRESHOLD)

TRUNCATE = Option(
    "truncate", bool, "Cut a text that is over the model's token limit; if false, refuse it.", default=True
)
TRUNCATION_SIDE = Option(
    "truncation_side",
    str,
    "Which end of a text is cut. Default: as the model's tokenizer says.",
    choices=("right", "left"),
)
SPLIT = Option(
    "split",
    bool,
    "Split a text that is over the model's token limit, and give the mean of its parts' vectors, weighted by tokens.",
    default=False,
)
DIMENSIONS = Option(
    "dimensions", int, "Only the first so many numbers of a vector (Matryoshka). Default: all.", minimum=1
)
NORMALIZE = Option(
    "normalize",
    bool,
    "Scale vectors to length 1. Default: true for a model whose own vectors have it, so that shortened ones and means "
    "do too.",
)
PROMPT_NAME = Option(
    "prompt_name",
    str,
    "Name of one of the model's prompts, which is put before each text. Default: the model's own default.",
    maximum=256,
)
PROMPT = Option(
    "prompt",
    str,
    "Text to put before each text, empty for none; give this or prompt_name. Default: as prompt_name.",
    maximum=16_384,
)
ENCODING = Option(
    "encoding",
    str,
    "How numbers are written: int8, each vector times 127 / its largest magnitude; binary, a bit for each number, 1 "
    "where it is over 0, eight to a byte.",
    default="float32",
    choices=("float32", "int8", "binary"),
)
EMBED_OPTIONS = _table(TRUNCATE, TRUNCATION_SIDE, SPLIT, DIMENSIONS, NORMALIZE, PROMPT_NAME, PROMPT, ENCODING)

MAX_ACTIVE_DIMS = Option(
    "max_active_dims", int, "Only the so many numbers of the greatest weight. Default: all that are not 0.", minimum=1
)
TOKENS = Option("tokens", bool, "Whether the vectors name their tokens.", default=False)
SPARSE_OPTIONS = _table(TRUNCATE, TRUNCATION_SIDE, PROMPT_NAME, PROMPT, MAX_ACTIVE_DIMS, TOKENS)

TOP_LABELS = Option("top_k", int, "At most so many labels, the best first. Default: all.", minimum=1)
RAW_SCORES = Option(
    "raw_scores", bool, "Scores as the model's last layer gives them, without softmax or sigmoid.", default=False
)
MULTI_LABEL = Option(
    "multi_label",
    bool,
    "Whether a label's score does not depend on the others' (sigmoid); else scores add up to 1 (softmax). Default: as "
    "the model says; with candidate_labels false.",
)
CANDIDATE_LABELS = Option(
    "candidate_labels",
    list,
    "Labels of your own: how far the text entails each, by a model of natural language inference. Default: the model's "
    "own.",
    minimum=1,
    maximum=1000,
    item_bytes=1024,
)
HYPOTHESIS_TEMPLATE = Option(
    "hypothesis_template",
    str,
    "The sentence that says that a text has a label, which takes the place of {}.",
    default="This example is {}.",
    minimum=1,
    maximum=1024,
)
CLASSIFY_OPTIONS = _table(TOP_LABELS, RAW_SCORES, MULTI_LABEL, CANDIDATE_LABELS, HYPOTHESIS_TEMPLATE, TRUNCATE)

TOP_N = Option("top_n", int, "Only the best so many texts. Default: all.", minimum=1)
RERANK_OPTIONS = _table(TOP_N, RAW_SCORES, TRUNCATE)

AGGREGATION = Option(
    "aggregation",
    str,
    "How tokens become entities: simple joins neighbours of a label; first, average and max also join a word's tokens.",
    default="simple",
    choices=("none", "simple", "first", "average", "max"),
)
IGNORE_LABELS = Option(
    "ignore_labels", list, "Labels that are left out. Default: only O.", maximum=1000, item_bytes=1024
)
TOKEN_OPTIONS = _table(AGGREGATION, IGNORE_LABELS, TRUNCATE)

SPECIAL_TOKENS = Option(
    "special_tokens", bool, "Whether the tokens that the model wants around a text are among them.", default=True
)
TOKENIZE_OPTIONS = _table(SPECIAL_TOKENS)

MAX_TOKENS = Option(
    "max_tokens", int, "Maximum number of new tokens.", default=20, minimum=0, maximum_of="max_output_tokens"
)
TEMPERATURE = Option(
    "temperature", float, "Sampling temperature; 0 takes the likeliest token.", default=1.0, minimum=0, maximum=10
)
TOP_K = Option("top_k", int, "Sample from the k likeliest tokens only; 0 or -1: from all.", default=0, minimum=-1)
TOP_P = Option(
    "top_p",
    float,
    "Sample from the likeliest tokens only that together reach this probability.",
    default=1.0,
    minimum=0,
    maximum=1,
)
REPETITION_PENALTY = Option(
    "repetition_penalty",
    float,
    "Over 1: tokens that are in the text already become less likely.",
    default=1.0,
    minimum=0,
    maximum=10,
    over_minimum=True,
)
STOP = Option(
    "stop", list, "Strings that end the text and are not part of it. Default: none.", maximum=16, item_bytes=256
)
SEED = Option(
    "seed",
    int,
    "Same seed, model, prompt and options: same text. Default: a new one for every call.",
    minimum=-(1 << 63),
    maximum=(1 << 63) - 1,
)
MIN_P = Option(
    "min_p",
    float,
    "Sample from tokens only that are at least so likely, measured by the likeliest.",
    default=0.0,
    minimum=0,
    maximum=1,
)
PRESENCE_PENALTY = Option(
    "presence_penalty",
    float,
    "Taken from the logit of each token that was generated before.",
    default=0.0,
    minimum=-2,
    maximum=2,
)
FREQUENCY_PENALTY = Option(
    "frequency_penalty", float, "The same, times how often it was generated.", default=0.0, minimum=-2, maximum=2
)
MIN_TOKENS = Option(
    "min_tokens",
    int,
    "The text does not end before so many new tokens, unless its form is complete.",
    default=0,
    minimum=0,
    maximum_of="max_tokens",
)
STOP_TOKEN_IDS = Option(
    "stop_token_ids", list, "Tokens that end the text and are not part of it. Default: none.", maximum=64, items=int
)
IGNORE_EOS = Option("ignore_eos", bool, "Whether the text goes on after the model's end-of-text token.", default=False)
LOGIT_BIAS = Option(
    "logit_bias",
    dict,
    "What is added to the logits of tokens, by their ids; -100 to 100 each. Default: nothing.",
    maximum=1024,
    item_range=(-100, 100),
)
LOGPROBS = Option(
    "logprobs",
    int,
    "Give the logarithm of each new token's probability, and of so many of the likeliest at its place. Default: none.",
    minimum=0,
    maximum=20,
)
PROMPT_LOGPROBS = Option(
    "prompt_logprobs", int, "The same of the prompt's tokens. Default: none.", minimum=0, maximum=20
)
PROMPT_TOKEN_IDS = Option(
    "prompt_token_ids", list, "The prompt as ids of tokens, special ones included; the prompt is empty then.", items=int
)
JSON_SCHEMA = Option(
    "json_schema",
    str,
    "JSON schema that the text is JSON of. Give at most one of json_schema, regex and grammar.",
    maximum=65_536,
)
REGEX = Option("regex", str, "Regular expression that the whole text matches.", maximum=65_536)
GRAMMAR = Option(
    "grammar", str, "Grammar of the text: Lark's as llguidance has it, or llama.cpp's GBNF.", maximum=65_536
)
CLAMP_MAX_TOKENS = Option(
    "clamp_max_tokens", bool, "Whether a max_tokens for which there is no room becomes what fits.", default=False
)
FORMS = (JSON_SCHEMA, REGEX, GRAMMAR)
GENERATION_OPTIONS = _table(
    *(MAX_TOKENS, TEMPERATURE, TOP_K, TOP_P, REPETITION_PENALTY, STOP, SEED),
    *(MIN_P, PRESENCE_PENALTY, FREQUENCY_PENALTY, MIN_TOKENS, STOP_TOKEN_IDS, IGNORE_EOS, LOGIT_BIAS),
    *(LOGPROBS, PROMPT_LOGPROBS, PROMPT_TOKEN_IDS, *FORMS, CLAMP_MAX_TOKENS),
)

MESSAGES = Option("messages", list, "The conversation, the oldest message first.", minimum=1, maximum=2048)
ROLE_BYTES, NAME_BYTES, MOST_TOOL_CALLS = 64, 256, 128
"""Of a message's role; of its name, and of ids and names of its calls of tools; how many of these it may have."""

TOOLS = Option(
    "tools",
    list,
    'Tools that the model may call, each a JSON object as OpenAI has it: {"type": "function", ...}.',
    maximum=128,
)
ADD_GENERATION_PROMPT = Option(
    "add_generation_prompt",
    bool,
    "Whether the prompt ends where the assistant begins to speak; with continue_final_message false.",
    default=True,
)
CONTINUE_FINAL_MESSAGE = Option(
    "continue_final_message",
    bool,
    "Whether the text continues the last message, which stays open; not with add_generation_prompt.",
    default=False,
)
TEMPLATE_ARGUMENTS = Option(
    "template_arguments",
    str,
    'A JSON object: what the chat template knows besides, such as {"enable_thinking": false}.',
    maximum=65_536,
)
PARSE_TOOL_CALLS = Option(
    "parse_tool_calls",
    bool,
    "Whether calls of tools are taken out of the text where their form is known; where tools are given.",
    default=True,
)
CHAT_OPTIONS = _table(TOOLS, ADD_GENERATION_PROMPT, CONTINUE_FINAL_MESSAGE, TEMPLATE_ARGUMENTS, PARSE_TOOL_CALLS)

WAIT_MS = Option("wait_ms", int, "Milliseconds to wait for more text.", minimum=0, maximum=60_000)

LIMIT = Option("limit", int, "Maximum number of jobs, the newest first.", default=100, minimum=1, maximum=1000)

ON_ERROR = Option(
    "on_error",
    str,
    "What a line that cannot be predicted does: fail the job, or become an error object.",
    default="fail",
    choices=("fail", "record"),
)
MAX_ERRORS = Option(
    "max_errors", int, "With record: more errors than this fail the job. Default: no maximum.", minimum=0
)
KEY_FIELD = Option(
    "key_field", str, "A field of each instance that is carried into its result.", minimum=1, maximum=256
)
BATCH_OPTIONS = _table(ON_ERROR, MAX_ERRORS, KEY_FIELD)
