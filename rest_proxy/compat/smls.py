"""smls's service: POST /embed with the field `message`, beside the fields of our own."""

from __future__ import annotations

import ast
import re
import warnings
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from pydantic_core import from_json

from rest_proxy.http.errors import invalid_argument, too_large
from rest_proxy.http.requests import Texts  # noqa: TC001 - the model reads its annotations
from rest_proxy.http.validation import expected_text
from rest_proxy.routes import embeddings
from rest_proxy.routes.embeddings import EmbedRequest

if TYPE_CHECKING:
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.route import Route

# Nothing here is tried in two ways: a megabyte of spaces must not cost its square.
_QUOTED = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
_PYTHON_TEXT = re.compile(_QUOTED, re.DOTALL)
_PYTHON_LIST = re.compile(rf"\s*+\[\s*+{_QUOTED}(?:\s*+,\s*+{_QUOTED})*+\s*+(?:,\s*+)?+\]\s*+", re.DOTALL)


class SmlsRequest(EmbedRequest):
    """Texts to embed. Exactly one of `message`, `text` and `texts` is given."""

    text_fields: ClassVar[tuple[str, ...]] = ("message", "text", "texts")

    message: Texts | None = Field(
        None,
        description="smls's field: a text, or a list of texts, which may be written as JSON or Python in a string.",
    )

    def field_and_texts(self, max_texts: int) -> tuple[str, str | list[str]]:
        """See EmbedRequest; `max_texts` holds for a list with Python's quotes. Raises HttpError."""
        if self.message is None:
            return super().field_and_texts(max_texts)
        message = self.message
        return "message", texts_of(message, max_texts) if isinstance(message, str) else message


def texts_of(message: str, max_texts: int) -> str | list[str]:
    """The texts in smls's field: those of a list in JSON or with Python's quotes, else the message itself.

    Raises HttpError for a list in JSON that has something else than strings in it, and for one with Python's quotes
    that has more than `max_texts` texts.
    """
    if not message.lstrip().startswith("["):
        return message
    try:
        items = from_json(message)
    except ValueError:
        return _python_texts(message, max_texts)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise invalid_argument(expected_text(item), field=f"message[{index}]")
    return items  # type: ignore[no-any-return]


def _python_texts(message: str, max_texts: int) -> str | list[str]:
    if not _PYTHON_LIST.fullmatch(message):
        return message
    quoted = [text.group() for text in islice(_PYTHON_TEXT.finditer(message), max_texts + 1)]
    if len(quoted) > max_texts:  # not left to the caller, because Python takes 5 us to read each
        raise too_large(f"more items than the limit of {max_texts}", field="message", setting="max_docs")
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
            return ast.literal_eval(f"[{','.join(quoted)}]")  # type: ignore[no-any-return]
    except (ValueError, SyntaxError):  # an escape that is not complete
        return message


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/embed with smls's field."""
    return embeddings.routes(settings, pool, SmlsRequest, "Turn texts into vectors; `message` as smls had it")
