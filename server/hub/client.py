"""The hub, asked by huggingface_hub: its addresses, headers, errors, and its settings in the environment.

HF_ENDPOINT says where the hub is, HF_TOKEN who asks, HF_HUB_OFFLINE that nobody is asked, HF_HUB_DOWNLOAD_TIMEOUT how
many seconds of silence are too many.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import structlog
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, get_token, hf_raise_for_status, parse_ratelimit_headers

from process.version import VERSION
from server.hub.errors import HubError, HubUnavailableError
from server.hub.files import listing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub.hf_api import ModelInfo

    from server.hub.files import HubFile, Listing
    from server.hub.location import HubModel
    from server.hub.stop import Stop

# After a failure that may pass, before the next try; after so many without a byte in between it is given up.
WAITS_S = (1, 2, 4, 8)
_MOST_WAIT_S = 300  # the window in which Hugging Face counts requests
_LISTING_WAITS = 2  # nothing is lost yet: who has no network is told so soon
_PASSING = (408, 429, 500, 502, 503, 504)
_LIBRARY = "predictor-service"

log = structlog.get_logger()


class PassingError(HubUnavailableError):
    """A failure that may pass: of the network, or of a busy hub."""

    wait_s = 0.0
    """So long the hub asks to wait, at least."""


class Hub:
    """One hub. Threads may share it."""

    def __init__(self) -> None:
        self.address = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self._api = HfApi(endpoint=self.address, library_name=_LIBRARY, library_version=VERSION)

    def listing(self, model: HubModel, stop: Stop, patience_s: float = _MOST_WAIT_S) -> Listing:
        """Which commit the revision is, and its files. Raises HubError, also where the hub asks for more patience."""
        waits = iter(WAITS_S[:_LISTING_WAITS])
        while True:
            stop.check()
            try:
                with self._explaining(model):
                    info = self._info(model)
                return listing_of(info.sha, info.siblings or ())
            except PassingError as error:
                if (wait := next(waits, None)) is None or error.wait_s > patience_s:
                    raise
                log.warning("the hub is asked again", model=model.name, in_s=max(wait, error.wait_s), error=str(error))
                stop.wait(max(wait, error.wait_s))

    def _info(self, model: HubModel) -> ModelInfo:
        timeout_s = constants.HF_HUB_DOWNLOAD_TIMEOUT
        try:
            return self._api.model_info(model.name, revision=model.revision, files_metadata=True, timeout=timeout_s)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # no JSON, or another one
            if isinstance(error, HfHubHTTPError):
                raise
            raise HubError(f"{self.address} does not answer as a model hub does: {error}") from None

    @contextlib.contextmanager
    def opened(self, model: HubModel, commit: str, file: HubFile, begin: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A file's bytes from `begin` on, and where they really begin: at 0 where the hub cannot begin elsewhere.

        Raises HubError; PassingError where the rest may come at another try.
        """
        url = hf_hub_url(model.name, file.name, revision=commit, endpoint=self.address)
        headers = build_hf_headers(library_name=_LIBRARY, library_version=VERSION) | {"Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        with (
            self._explaining(model, file.name),
            get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response,
        ):
            hf_raise_for_status(response)
            yield (begin if _begins_at(response, begin) else 0), response.iter_bytes()

    @contextlib.contextmanager
    def _explaining(self, model: HubModel, file: str | None = None) -> Iterator[None]:
        """The library's errors as ours."""
        try:
            yield
        except OfflineModeIsEnabled:
            raise HubUnavailableError("HF_HUB_OFFLINE is set: no hub is asked") from None
        except HfHubHTTPError as error:
            raise self._refusal(model, file, error) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise PassingError(
                f"no model hub can be reached at {self.address}: {str(error) or type(error).__name__}. Name another one"
                " by HF_ENDPOINT, or bring the folder from a machine that reaches one (scripts/download_model.py)"
            ) from None
        except httpx2.HTTPError as error:
            raise PassingError(f"the hub at {self.address} broke off: {str(error) or type(error).__name__}") from None

    def _refusal(self, model: HubModel, file: str | None, error: HfHubHTTPError) -> HubError:
        status = error.response.status_code
        if file is not None and not str(error.response.url).startswith(
            f"{self.address}/"
        ):  # its addresses hold for a while only
            return PassingError(f"the store to which the hub sends for {file} answers {status}")
        if isinstance(error, RevisionNotFoundError):
            return HubError(f"{model.name} has no revision {model.revision}: it is a branch, a tag or a commit")
        if isinstance(error, RemoteEntryNotFoundError):
            return HubError(f"the hub lists {file}, but does not give it (status {status})")
        if isinstance(error, DisabledRepoError):
            return HubError(f"access to {model.name} is disabled by the hub")
        if isinstance(error, GatedRepoError) or status == 403:
            return HubError(
                f"{model.name} is gated: accept its terms at {self.address}/{model.name}, and set HF_TOKEN to a token"
                f" of that account, with the right to read it; {_token()}"
            )
        if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
            return HubError(
                f"{self.address} has no model {model.name}, or does not show it to everybody: is the name right? For a"
                f" private one set HF_TOKEN; {_token()}"
            )
        what = f"to {file}" if file is not None else "to the list of files"
        message = f"{self.address} answers {status} {what} of {model.name}"
        if status not in _PASSING:
            return HubError(message)
        passing = PassingError(message)
        passing.wait_s = _asked_wait_s(error.response.headers)
        return passing


def default_cache() -> Path:
    """Where Hugging Face's libraries keep models: HF_HUB_CACHE, else `hub` below HF_HOME."""
    return Path(constants.HF_HUB_CACHE)


def _asked_wait_s(headers: httpx2.Headers) -> float:
    """By Retry-After, or by the hub's own header of its rate limit; 0 where it does not say."""
    after = headers.get("Retry-After", "")
    limit = parse_ratelimit_headers(headers)
    asked = int(after) if after.isdecimal() else limit.reset_in_seconds if limit and not limit.remaining else 0
    return min(asked, _MOST_WAIT_S)


def _token() -> str:
    if os.environ.get("HF_TOKEN"):
        return "HF_TOKEN was sent, which is wrong or has no right to it"
    return "a stored token was sent, which is wrong or has no right to it" if get_token() else "no token was sent"


def _begins_at(response: Any, begin: int) -> bool:
    """Whether the answer is the part that was asked for."""
    return begin > 0 and response.status_code == 206 and _first_byte(response) == begin


def _first_byte(response: Any) -> int:
    """Of a Content-Range: `bytes 5-9/10`."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1
