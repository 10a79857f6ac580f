"""Vectors of texts: encoders that a folder of sentence-transformers, or a plain one, holds."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from server.calls import Pending
from server.errors import invalid_argument
from server.models.capabilities import Capability
from server.models.folder.text_model import TextModel, pending_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.models.folder.model_folder import ModelFolder
    from server.models.folder.tokens import Encoded, Tokens
    from server.models.requests import Reading, RequestContext

_FLOAT_BYTES = 4
_KEPT_PROMPTS = 64


class PromptedModel(TextModel):
    """What puts a prompt before a text."""

    takes = frozenset({"truncation_side", "prompt_name", "prompt"})

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        self._prompts = folder.module.prompts
        self._default_prompt = self._prompts.get(folder.module.default_prompt or "", "")
        self._excludes_prompt = not folder.module.include_prompt
        self._prompt_tokens = functools.lru_cache(_KEPT_PROMPTS)(self._tokenizer.prompt_tokens)
        self._left = self._tokenizer.truncates_left

    def _prompt(self, reading: Reading) -> str:
        if reading.prompt is not None:
            return reading.prompt
        if reading.prompt_name is None:
            return self._default_prompt
        if reading.prompt_name not in self._prompts:
            known = ", ".join(self._prompts) or "none"
            raise invalid_argument(f"no prompt is named {reading.prompt_name!r}; the model's are {known}")
        return self._prompts[reading.prompt_name]

    def _cuts_left(self, reading: Reading) -> bool:
        return self._left if reading.truncation_side is None else reading.truncation_side == "left"

    def _skipped(self, prompt: str) -> int:
        """Tokens that pooling leaves out."""
        return self._prompt_tokens(prompt) if prompt and self._excludes_prompt else 0

    def _answer(
        self, text: str, reading: Reading, context: RequestContext, convert: Callable[[bytes], Any] | None
    ) -> Pending[Any]:
        prompt, left = self._prompt(reading), self._cuts_left(reading)

        def submit(encoded: Encoded) -> Pending[Any]:
            tokens = self._tokenizer.single(encoded, left)
            return self._submit(tokens, reading.truncate, context, convert, self._skipped(prompt))

        return self._read((prompt + text,), submit, reading.truncate, left)


class EncoderModel(PromptedModel):
    """A vector for each text."""

    kind = "sentence-encoder"
    capabilities = (Capability.EMBED, Capability.EMBED_IDS, Capability.TOKENIZE)
    takes = PromptedModel.takes | {"split"}

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        modules = folder.head["modules"]
        shortened = folder.module.dimensions
        self._is_static = folder.module.static
        if folder.words is not None:  # of long texts no more than the beginning is looked at
            self.takes = PromptedModel.takes - {"truncation_side"}
        self._cut = None if shortened is None or shortened >= native.columns else shortened * _FLOAT_BYTES
        self.dimensions = native.columns if self._cut is None or shortened is None else shortened
        self.normalized = bool(modules) and modules[-1]["type"] == "normalize" and self._cut is None
        self._convert = None if self._cut is None else self._shortened
        self.details |= {
            "output": "vectors",
            "dimensions": str(self.dimensions),
            "pooling": "+".join(mode for module in modules for mode in module.get("modes", ())),
            "normalized": str(self.normalized).lower(),
        }

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """See Model.embed. A long text that must be read whole to be cut is tokenised in a thread."""
        if reading.split:
            return self._embed_split(text, reading, context)
        return self._answer(text, reading, context, self._convert)

    def embed_ids(self, ids: Sequence[int], truncate: bool, context: RequestContext) -> Pending[bytes]:
        """See Model.embed_ids. Ids without the special tokens are refused: they are seldom the model's own."""
        own = self._tokenizer.own_ids(ids)
        if own is None:
            around = self._tokenizer.around
            raise invalid_argument(
                f"must begin and end with the model's special tokens ({around}), as tokenize gives them; ids of "
                "another tokenizer, such as OpenAI's, mean other words here: send the text instead"
            )
        return self._submit(self._tokenizer.single(own, self._left), truncate, context, self._convert)

    def _submit(self, tokens: Tokens, *further: Any) -> Pending[Any]:
        if tokens.ids or not self._is_static:
            return super()._submit(tokens, *further)
        nothing: Pending[bytes] = Pending()  # the mean of no tokens, as torch's EmbeddingBag has it
        nothing.tokens = 0
        nothing.resolve(bytes(self.dimensions * _FLOAT_BYTES))
        return nothing

    def _shortened(self, vector: bytes) -> bytes:
        return vector[: self._cut]

    # ----------------------------------------------------------------------------------------------------- split texts

    def _embed_split(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        prompt = self._prompt(reading)

        def submit(encoded: Encoded) -> Pending[bytes]:
            if len(encoded.ids) <= self._tokenizer.room:
                tokens = self._tokenizer.single(encoded)
                return self._submit(tokens, True, context, self._convert, self._skipped(prompt))
            return pending_of(lambda request: self._mean(request, prompt, text, context))

        return self._read((prompt + text,), submit, truncate=False, left=True)

    async def _mean(self, outer: Pending[bytes], prompt: str, text: str, context: RequestContext) -> bytes:
        """The windows' vectors, each as often as it has tokens of the text; every window begins with the prompt."""
        encoded = await self._in_thread(self._tokenizer.encode, text)
        before = self._tokenizer.encode(prompt).ids if prompt else []
        windows = self._tokenizer.windows(encoded, before)
        requests: list[Pending[bytes]] = []
        try:
            for window, _ in windows:
                requests.append(self._submit(window, True, context, self._convert, self._skipped(prompt)))
            outer.tokens = sum(request.tokens or 0 for request in requests)
            vectors = [np.frombuffer(await request, "<f4") for request in requests]
        finally:
            for request in requests:
                request.abandon()
        mean = np.average(np.stack(vectors), axis=0, weights=[count for _, count in windows])
        answer: bytes = mean.astype("<f4").tobytes()
        return answer
