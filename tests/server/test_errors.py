"""server/errors.py: the field and the setting are data, and stand in the text once."""

from server.errors import (
    ErrorCode,
    at,
    deadline_exceeded,
    invalid_argument,
    not_found,
    overloaded,
    too_large,
    unavailable,
)


def test_a_field_is_data_and_begins_the_message() -> None:
    error = invalid_argument("must lie between 1 and 1000, got 0", field="options.top_k")
    assert (error.code, error.field, error.setting) == (ErrorCode.INVALID_ARGUMENT, "options.top_k", None)
    assert error.message == "options.top_k: must lie between 1 and 1000, got 0"


def test_a_setting_is_data_and_ends_the_message() -> None:
    error = too_large("has more than 512 tokens", field="doc", setting="max_tokens")
    assert (error.code, error.field, error.setting) == (ErrorCode.TOO_LARGE, "doc", "max_tokens")
    assert error.message == "doc: has more than 512 tokens (setting max_tokens)"


def test_every_kind_of_refusal_takes_what_it_can_name() -> None:
    assert not_found("no such job", field="id").field == "id"
    full = overloaded("the queue is full", 50, setting="queue_items")
    assert (full.retry_after_ms, full.setting) == (50, "queue_items")
    assert deadline_exceeded("too late", setting="timeout_ms").setting == "timeout_ms"
    off = unavailable("this server runs no batch jobs", setting="jobs_db")
    assert (off.retry_after_ms, off.setting) == (None, "jobs_db")


def test_an_error_gets_the_argument_that_its_raiser_did_not_know() -> None:
    error = at(overloaded("the queue is full", 50, setting="queue_items"), "texts[3]")
    assert (error.code, error.retry_after_ms, error.field, error.setting) == (
        ErrorCode.OVERLOADED,
        50,
        "texts[3]",
        "queue_items",
    )
    assert error.message == "texts[3]: the queue is full (setting queue_items)"
