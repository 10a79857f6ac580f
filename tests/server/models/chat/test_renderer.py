"""Chat templates in their own process: what a hostile one does is refused in bounded time, and the server goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from server.errors import ErrorCode
from server.models.chat.renderer import Limits, Renderer
from tests.server.waiting import error_of, result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.slow

LIMITS = Limits(cpu_ms=1000, memory_bytes=256 << 20, most_characters=100_000, waiting=64)
MESSAGES = {"messages": [{"role": "user", "content": "hello"}], "tools": None}
GREETING = "{% for message in messages %}{{ message.role }}: {{ message['content'] }}\n{% endfor %}"

HOSTILE = {
    # template: what the error says, and the setting that it names
    "{% for i in range(10**9) %}{% endfor %}": ("Range too big", None),
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": ("1000 ms", "chat_template_ms"),
    "{{ 7**(10**8) }}": ("1000 ms", "chat_template_ms"),
    "{{ 'a' * 10**9 }}": ("memory", "chat_template_bytes"),
    "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}": (
        "memory",
        "chat_template_bytes",
    ),
    "{% for i in range(99999) %}aaaaaaaaaa{% endfor %}": ("more than 100000 characters", "max_message_bytes"),
    "{{ 'a' * 200000 }}": ("more than 100000 characters", "max_message_bytes"),
    "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}": ("RecursionError", None),
    "{{ '%0999999999d' | format(messages | length) }}": ("memory", "chat_template_bytes"),
    "{{ messages.__class__.mro() }}": ("SecurityError", None),
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": ("SecurityError", None),
    "{{ ('' | attr('__class__')).mro() }}": ("Error", None),
    "{{ messages.append(1) }}": ("SecurityError", None),
    "{{ raise_exception.__globals__.json }}": ("SecurityError", None),
    "{{ cycler.__init__.__globals__.os }}": ("SecurityError", None),
    "{{ namespace(__class__=1) }}": ("SecurityError", None),
    "{% include '/etc/passwd' %}": ("TypeError", None),
    "{{ unknown.name }}": ("UndefinedError", None),
    "{{ 1 / 0 }}": ("ZeroDivisionError", None),
    "a\n{% if %}": ("line 2", None),
    "{{ raise_exception('roles must\nalternate') }}": ("refuses it: roles must alternate", None),
}


@pytest.fixture
async def new_renderer() -> AsyncIterator[Callable[..., Renderer]]:
    """Makes renderers of one template, which end with the test."""
    made: list[Renderer] = []

    def make(template: str, **limits: Any) -> Renderer:
        made.append(Renderer({"default": template, "good": GREETING}, LIMITS._replace(**limits)))
        return made[-1]

    yield make
    for renderer in made:
        await renderer.close()


def later(seconds: float = 60) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


def worker_of(renderer: Renderer) -> int:
    """The process's id."""
    transport: Any = renderer._process and renderer._process._transport
    pid: int = transport.get_pid()
    return pid


async def greeted(renderer: Renderer) -> bool:
    return await result(renderer.render("good", MESSAGES, later())) == "user: hello\n"


@pytest.mark.parametrize("template", HOSTILE)
async def test_a_hostile_template_is_refused_and_the_next_conversation_answered(
    new_renderer: Callable[..., Renderer], template: str
) -> None:
    message, setting = HOSTILE[template]
    renderer = new_renderer(template)
    assert await greeted(renderer)
    error = await error_of(renderer.render("default", MESSAGES, later()))
    assert message in error.message
    assert error.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE)
    assert (error.field, error.setting) == ("messages", setting)
    assert await greeted(renderer)


async def test_the_event_loop_goes_on_meanwhile(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer("{{ 7**(10**8) }}")
    assert await greeted(renderer)
    refused = asyncio.ensure_future(error_of(renderer.render("default", MESSAGES, later())))
    longest, last = 0.0, time.perf_counter()
    while not refused.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert longest < 0.25


async def test_those_that_wait_are_answered_by_the_next_process(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer("{{ 7**(10**8) }}")
    assert await greeted(renderer)
    bad = asyncio.ensure_future(error_of(renderer.render("default", MESSAGES, later())))
    good = [asyncio.ensure_future(greeted(renderer)) for _ in range(5)]
    assert all(await asyncio.gather(*good))
    assert (await bad).setting == "chat_template_ms"


async def test_a_deadline_ends_the_wait(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer("{{ 7**(10**8) }}", cpu_ms=60_000)
    assert await greeted(renderer)
    bad = asyncio.ensure_future(error_of(renderer.render("default", MESSAGES, later(0.5))))
    await asyncio.sleep(0)
    waiting = await error_of(renderer.render("good", MESSAGES, later(0.05)))
    assert waiting.code == ErrorCode.DEADLINE_EXCEEDED
    assert (await bad).code == ErrorCode.DEADLINE_EXCEEDED


async def test_too_many_that_wait_are_refused(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer("{{ 7**(10**8) }}", waiting=2)
    assert await greeted(renderer)
    waiting = [asyncio.ensure_future(error_of(renderer.render("default", MESSAGES, later()))) for _ in range(3)]
    await asyncio.sleep(0)
    full = await error_of(renderer.render("good", MESSAGES, later()))
    assert (full.code, full.setting) == (ErrorCode.OVERLOADED, "queue_items")
    for refused in waiting:
        assert (await refused).setting == "chat_template_ms"


async def test_a_process_that_is_killed_is_replaced(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer(GREETING)
    assert await greeted(renderer)
    os.kill(worker_of(renderer), signal.SIGKILL)
    while renderer._process is not None:  # noqa: ASYNC110 - until the loop has heard of it
        await asyncio.sleep(0.01)
    assert await greeted(renderer)


async def test_a_conversation_whose_process_is_killed_gets_another_one(
    new_renderer: Callable[..., Renderer],
) -> None:
    """The kernel may kill it, for want of memory; where that happens again it may be the conversation's fault."""
    renderer = new_renderer("{{ 7**(10**8) }}", cpu_ms=60_000)
    assert await greeted(renderer)
    asked = asyncio.ensure_future(error_of(renderer.render("default", MESSAGES, later())))
    killed = set()
    for _ in range(4):
        while renderer._running is None or worker_of(renderer) in killed:  # noqa: ASYNC110 - until it is begun
            await asyncio.sleep(0.01)
        killed.add(worker_of(renderer))
        os.kill(worker_of(renderer), signal.SIGKILL)
    assert "it ends the process" in (await asked).message
    assert len(killed) == 4
    assert await greeted(renderer)


async def test_nothing_is_left_of_it_after_the_end(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer(GREETING)
    assert await greeted(renderer)
    worker = worker_of(renderer)
    os.kill(worker, 0)
    await renderer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert (await error_of(renderer.render("good", MESSAGES, later()))).code == ErrorCode.UNAVAILABLE


async def test_text_of_every_kind_passes(new_renderer: Callable[..., Renderer]) -> None:
    renderer = new_renderer("{{ messages | tojson }}{% generation %}{{ bos_token }}{% endgeneration %}")
    message = {"role": "user", "content": "<b>Zürich</b> & 🙂 \x00 'quoted'"}
    text = await result(renderer.render("default", {"messages": [message], "bos_token": "<s>"}, later()))
    assert text == '[{"role": "user", "content": "<b>Zürich</b> & 🙂 \\u0000 \'quoted\'"}]<s>'


async def test_a_process_that_is_killed_as_it_starts_is_replaced(
    new_renderer: Callable[..., Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the renderer knows that it has one."""
    loop = asyncio.get_running_loop()
    start, killed = loop.subprocess_exec, []

    async def start_and_kill(factory: Any, *command: str, **options: Any) -> Any:
        transport, process = await start(factory, *command, **options)
        if not killed:
            killed.append(transport.get_pid())
            transport.kill()
            while not process.gone:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return transport, process

    renderer = new_renderer(GREETING)
    assert await greeted(renderer)
    os.kill(worker_of(renderer), signal.SIGKILL)
    while renderer._process is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    starting = Starting(loop, start_and_kill)
    monkeypatch.setattr(renderer, "_loop", starting)
    assert await greeted(renderer)
    assert len(killed) == 1


class Starting:
    """The loop, but for how it starts processes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, subprocess_exec: Any) -> None:
        self._loop = loop
        self.subprocess_exec = subprocess_exec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
