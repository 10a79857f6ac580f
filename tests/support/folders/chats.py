"""Small folders of models that chat: random weights, and chat templates in the forms of known families.

The templates are written anew for these tests. Each has what its family's own has: how turns are marked, where a system
message goes, what is trimmed, what is refused, and, where the family has them, tools and calls of tools.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, Any

import transformers

from server.models.folder.generation import token_bytes
from tests.support.folders import vocabularies
from tests.support.folders.architectures import randomize
from tests.support.folders.language_models import GROUPED, _quieten_embeddings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.shared import SharedFiles

POSITIONS = 1024

LLAMA3 = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set turns = messages %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' }}
{{- (date_string | default('26 Jul 2024')) ~ '\\n\\n' }}
{%- if tools is not none %}
    {{- 'Answer with {"name": function name, "parameters": dictionary of argument name and its value}.\\n\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) ~ '\\n\\n' }}
    {%- endfor %}
{%- endif %}
{{- system ~ '<|eot_id|>' }}
{%- for message in turns %}
    {%- if 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception('only one call of a tool at a time') }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' ~ call.name ~ '", "parameters": ' }}
        {{- call.arguments | tojson ~ '}<|eot_id|>' }}
    {%- elif message.role in ('tool', 'ipython') %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' ~ message.content ~ '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN3 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- '# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools>\\nA call is <tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages | length - 1, looking=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.looking and message.role == 'user' and message.content is string %}
        {%- set ns.looking = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thought = message.reasoning_content if message.reasoning_content is string else '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and content) or not loop.first %}{{- '\\n' }}{%- endif %}
            {{- '<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
            {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""

GEMMA3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}
    {{- first_user_prefix if loop.first else '' -}}
    {{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""

MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set users = turns | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in turns %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and message == users[-1] %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, value in tool.function.items() if key != "return" %}
                    {{- '"' + key + '": ' }}{{- value | tojson }}{%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{%- if not loop.last %}{{- ", " }}{%- endif %}
            {%- endfor %}
            {{- "][/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for call in message.tool_calls %}
            {%- if call.id is not defined or call.id | length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] + ', "id": "' + call.id + '"}' + (", " if not loop.last else "]" + eos_token) }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message["content"] | string }}
        {{- ', "call_id": "' + message["tool_call_id"] + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool roles are supported, after a system message!") }}
    {%- endif %}
{%- endfor %}
"""

SMOLLM = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""


def _with_tokens(vocabulary: Callable[..., Any], *tokens: str) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        tokenizer = vocabulary(**options)
        tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)}, replace_extra_special_tokens=False)
        return tokenizer

    return make


@dataclasses.dataclass(frozen=True)
class ChatModel:
    """A folder."""

    name: str
    config: str
    """The class of transformers."""
    vocabulary: Callable[..., Any]
    template: str
    fields: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    def write(self, folder: Path) -> None:
        """The model and its tokenizer with its template, each by its save_pretrained."""
        tokenizer = self.vocabulary()
        tokenizer.chat_template = self.template
        kind = getattr(transformers, self.config)
        special = ("pad_token_id", "bos_token_id", "eos_token_id")
        known = {name: getattr(tokenizer, name) for name in special}
        config = kind(**{"vocab_size": len(tokenizer) + 3} | known | self.fields)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        randomize(model)
        _quieten_embeddings(model)
        _keep_to_whole_characters(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _keep_to_whole_characters(model: Any, tokenizer: Any) -> None:
    """What is no text is shown by the library as it likes: tokens of such bytes get logits of 0, and are never best."""
    import torch

    head = model.get_output_embeddings().weight
    table = token_bytes.read(tokenizer.backend_tokenizer, len(head)).table
    with torch.no_grad():
        for token, content in enumerate(table):
            if content and "\ufffd" in content.decode(errors="replace"):
                head[token] = 0


_SIZES = GROUPED | {"max_position_embeddings": POSITIONS}

MODELS = (
    ChatModel(
        "llama3",
        "LlamaConfig",
        _with_tokens(vocabularies.llama3, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        LLAMA3,
        _SIZES,
    ),
    ChatModel("qwen3", "Qwen3Config", vocabularies.qwen_generator, QWEN3, _SIZES | {"head_dim": 24}),
    ChatModel(
        "gemma3",
        "Gemma3TextConfig",
        _with_tokens(vocabularies.gemma_generator, "<start_of_turn>", "<end_of_turn>"),
        GEMMA3,
        _SIZES
        | {"num_hidden_layers": 4, "head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 12}
        | {"sliding_window_pattern": 2, "tie_word_embeddings": False},
    ),
    ChatModel(
        "mistral",
        "MistralConfig",
        _with_tokens(
            vocabularies.llama2,
            *("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
            *("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
        ),
        MISTRAL,
        _SIZES | {"sliding_window": None},
    ),
    ChatModel("smollm", "LlamaConfig", vocabularies.qwen_generator, SMOLLM, _SIZES | {"tie_word_embeddings": True}),
)
BY_NAME = {model.name: model for model in MODELS}


def made(shared_files: SharedFiles, name: str) -> Path:
    """The folder of the model of this name, made once for a run."""

    def write(path: Path) -> None:
        path.mkdir()
        BY_NAME[name].write(path)

    return shared_files.made(f"chats/{name}", write)


def write_slow(folder: Path) -> None:
    """SmolLM's form, so large that a token takes milliseconds, and without a token that ends a text."""
    sizes = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048}
    slow = dataclasses.replace(BY_NAME["smollm"], fields=_SIZES | sizes | {"num_key_value_heads": 8})
    folder.mkdir()
    slow.write(folder)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {"eos_token_id": None}))


CALL = ("<tool_call>", '\n{"name": "get_', 'weather", "arguments"', ': {"place": "Kö', 'ln"}}\n', "</tool_call>")
"""Tokens of write_caller's model."""


def write_caller(folder: Path) -> None:
    """Qwen 3's form, whose model asks for the weather in Köln whatever it is told: a token alone says which is next."""
    import torch

    def vocabulary() -> Any:
        tokenizer = vocabularies.qwen_generator()
        tokenizer.add_tokens([transformers.AddedToken(part, special=False, normalized=False) for part in CALL])
        return tokenizer

    caller = dataclasses.replace(BY_NAME["qwen3"], vocabulary=vocabulary)
    folder.mkdir()
    caller.write(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    steps = tokenizer.convert_tokens_to_ids(["Ċ", *CALL, "<|im_end|>"])
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                weight.zero_()
            elif "norm" in name:
                weight.fill_(1)
        head.zero_()
        for token, following in itertools.pairwise(steps):
            head[following] = torch.nn.functional.normalize(embeddings[token], dim=0) * 10
    model.save_pretrained(folder)
