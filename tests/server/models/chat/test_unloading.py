"""A model that is taken away, or loaded anew, answers the conversations that came before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ChatMessage

from server.config import Settings
from server.models import kinds
from server.models.chat.conversation import Conversation
from tests.server.waiting import result
from tests.support.folders import chats
from tests.support.folders.served import context

if TYPE_CHECKING:
    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow  # it makes the model


async def test_conversations_that_wait_for_their_template_are_answered(shared_files: SharedFiles) -> None:
    model = await kinds.load(chats.made(shared_files, "smollm"), Settings())
    conversation = Conversation([ChatMessage("user", "hello")])
    asked = [asyncio.ensure_future(result(model.chat_prompt(conversation, context()))) for _ in range(3)]
    await asyncio.sleep(0)
    await model.close()
    assert all([(await one).tokens for one in asked])
