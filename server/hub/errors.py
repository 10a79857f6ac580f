"""Why a model of the hub cannot be had."""

from server.errors import ModelError


class HubError(ModelError):
    """The hub does not give it, or not whole; the message says why and what helps."""


class HubUnavailableError(HubError):
    """The hub cannot be reached now, or fetching was stopped: another try may succeed."""


class HashError(HubError):
    """What came is not what the hub says that the file is."""
