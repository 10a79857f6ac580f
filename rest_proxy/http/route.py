"""A route: what dispatches a request, and what the OpenAPI document says of it, in one object."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from predictor.ttypes import ErrorCode

from rest_proxy.http.content import FORM, JSON, MULTIPART
from rest_proxy.http.errors import STATUS
from rest_proxy.http.responses import JSON_ERRORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aiohttp import web
    from pydantic import BaseModel

    from process.security.access import Visit
    from rest_proxy.http.content import Schema
    from rest_proxy.http.fast.heads import Head
    from rest_proxy.http.responses import ErrorFormat

GET = ("GET", "HEAD")
GET_OR_POST = (*GET, "POST")
ANY_FORM = (JSON, FORM, MULTIPART)

SERVER_ERRORS = (ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL)
"""What any call to a Thrift server may end with."""
MODEL_ERRORS = tuple(STATUS)
"""What a call to a model may end with."""


class Entrance(enum.Enum):
    """Who gets an answer of a route, where there are tokens."""

    OPEN = "open"
    """Anybody; what calls the route makes is decided for each."""
    KNOWN = "known"
    """Whoever has a token."""
    STATUS = "status"
    """Whoever has this right; and so on."""
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets when all is well, or with another `status` that is no error."""

    content: Mapping[str, Schema]
    """The media types of the body, each with its JSON Schema."""
    status: int = 200
    description: str = "The answer"
    headers: Mapping[str, Schema] = field(default_factory=dict)
    """Headers beside those of every answer, each with its JSON Schema."""
    examples: Mapping[str, Any] = field(default_factory=dict)
    """An example for some of the media types."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request that works: its fields, those of the path among them, and the status of the answer."""

    fields: Mapping[str, Any]
    status: int = 200


class Calls(Protocol):
    """What makes the calls of such requests: of one method, and with the same options each time."""

    @property
    def request(self) -> Callable[[], Any]:
        """The kind of DirectRequest (http.fast.direct) that its calls are for."""

    def begin(self, text: str, request: Any, visit: Visit | None) -> None:
        """Begin one; the request is told the outcome. `visit`: whose it is, where that counts."""


@dataclass(frozen=True, slots=True)
class Direct:
    """How a route answers those of its small requests that are one call about one text.

    Most are, and to them the route's `answer` would give the same: this is how it costs less.
    """

    read: Callable[[Head, bytes], str | None]
    """The text of a request, by its head and its body; None for one that `answer` must see."""
    calls: Calls
    """What makes the call."""
    write: Callable[[Any], bytes]
    """The body of the answer, of the call's result."""
    headers: Mapping[str, str]
    """Those of the answer: Content-Type first, and all but the request's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path and the methods that it is asked with."""

    path: str
    """`{id}` at its end stands for the last segment of the path, and `{name}` anywhere for a model's name; `/` without
    methods for every path that is no other route's."""
    methods: tuple[str, ...]
    """Empty: any method."""
    answer: Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
    """Called with a request and its id."""
    name: str
    """The operation's id in the document."""
    summary: str
    tag: str
    answers: tuple[Answer, ...]
    """The first is that to the example."""
    description: str = ""
    request: type[BaseModel] | Schema | None = None
    """What a request says: in its query if the method has no body, else in its body. A Schema where no model reads
    it."""
    request_types: tuple[str, ...] = (JSON,)
    """Media types of the body, for methods that have one."""
    further_requests: tuple[type[BaseModel], ...] = ()
    """What else a body in JSON may say."""
    example: Example = field(default_factory=lambda: Example({}))
    errors: tuple[int, ...] = ()
    """ErrorCodes that the route may answer with, beside those of every request of its kind."""
    error_format: ErrorFormat = JSON_ERRORS
    call_fields: Mapping[str, str] = field(default_factory=dict)
    """The request's names of the call's fields that have other names there; see `request_field`."""
    claims: Callable[[web.BaseRequest], bool] | None = None
    """Of several routes at `/`: whether a request is for this one."""
    bounded: bool = True
    """Whether requests count against max_requests."""
    entrance: Entrance = Entrance.KNOWN
    """Who gets an answer, where there are tokens."""
    changes: bool = False
    """Whether a request changes what others see, such as jobs."""
    small: bool = False
    """Whether small requests may go the short way: the answer waits for nothing but calls, and reads no file."""
    direct: Direct | None = None
    """How the plainest of them are answered; only where `small`, and not of a stream."""
    label: str = ""
    """The route's name in metrics and errors. Default: the path, up to its `{name}`."""
    prefix: str = field(init=False)
    """The path up to its first `{`; the whole path where it has a pattern."""
    pattern: re.Pattern[str] | None = field(init=False)
    """What paths with a `{name}` look like; None where the prefix tells."""

    def __post_init__(self) -> None:
        prefix = self.path if _NAME in self.path else self.path.partition("{")[0]
        object.__setattr__(self, "prefix", prefix)
        object.__setattr__(self, "pattern", path_pattern(self.path) if _NAME in self.path else None)
        object.__setattr__(self, "label", self.label or prefix)


_NAME = "{name}"
_FIELD = re.compile(r"\{(\w+)\}")
_SLASHES = re.compile("/{2,}")


def tidy(path: str) -> str:
    """A path without superfluous slashes."""
    return _SLASHES.sub("/", path).rstrip("/")


@lru_cache(maxsize=256)
def path_pattern(template: str) -> re.Pattern[str]:
    """A route's path as a pattern of tidy paths: a model's name may have one slash in it."""
    parts = _FIELD.split(template)
    pattern = "".join(
        (r"(?P<name>[^/]+?(?:/[^/]+?)?)" if part == "name" else f"(?P<{part}>[^/:]+)") if place % 2 else re.escape(part)
        for place, part in enumerate(parts)
    )
    return re.compile(pattern)


def path_fields(templates: Iterable[str], request: web.BaseRequest) -> dict[str, str]:
    """What stands in a request's path for the fields of the first of these routes that it fits, decoded."""
    path = tidy(request.rel_url.raw_path)
    found = next(found for template in templates if (found := path_pattern(template).fullmatch(path)))
    return {name: unquote(value) for name, value in found.groupdict().items()}
