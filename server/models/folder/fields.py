"""Fields of a folder's files that change no answer, or that are read elsewhere: all others are refused by name.

What is not known may change the answer, and nothing may be silently wrong. Who knows that a field changes nothing
says so with the model: NAME=FOLDER,ignore=FIELD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection

# Read by tokenizer_files.py.
_TOKENIZER_READ = {
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "added_tokens_decoder",
    "additional_special_tokens",
    "bos_token",
    "cls_token",
    "do_lower_case",
    "eos_token",
    "extra_special_tokens",
    "keep_accents",
    "legacy",
    "mask_token",
    "model_input_names",
    "model_max_length",
    "pad_token",
    "sep_token",
    "split_by_punct",
    "split_special_tokens",
    "strip_accents",
    "tokenize_chinese_chars",
    "tokenizer_class",
    "trim_offsets",
    "truncation_side",
    "unk_token",
}
# Of decoding, of padding, of how and where a file was saved, of chats, of classes written in Python; or in
# tokenizer.json already, which goes before them.
_TOKENIZER_HARMLESS = {
    "__type",
    "auto_map",
    "backend",
    "chat_control_tokens",
    "chat_template",
    "clean_up_tokenization_spaces",
    "do_basic_tokenize",
    "errors",
    "extra_ids",
    "from_slow",
    "full_tokenizer_file",
    "init_inputs",
    "is_local",
    "language",
    "local_files_only",
    "mask_token_sent",
    "max_len",
    "max_length",
    "max_seq_length",
    "merges_file",
    "model_specific_special_tokens",
    "name_or_path",
    "never_split",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "remove_space",
    "response_template",
    "revision",
    "sp_model_kwargs",
    "spaces_between_special_tokens",
    "special_tokens",
    "special_tokens_map_file",
    "stride",
    "tokenizer_file",
    "tokenizer_type",
    "transformers_version",
    "truncation",
    "truncation_strategy",
    "unk_id",
    "use_default_system_prompt",
    "use_fast",
    "verbose",
    "vocab_file",
    "vocab_type",
    "wordpieces_prefix",
}

# All are read by sentence_transformers.py, but for what is of attention's implementation or of other inputs.
_TRANSFORMER = {
    "backend",
    "cache_dir",
    "config_args",
    "config_kwargs",
    "do_lower_case",
    "document_length",
    "max_seq_length",
    "modality_config",
    "model_args",
    "model_kwargs",
    "module_output_name",
    "processing_kwargs",
    "processor_kwargs",
    "query_expansion",
    "query_length",
    "tokenizer_args",
    "tokenizer_name_or_path",
    "transformer_task",
    "unpad_inputs",
}
_SENTENCE_TRANSFORMER = {
    "__version__",
    "activation_fn",
    "attend_to_expansion_tokens",
    "default_prompt_name",
    "do_query_expansion",
    "document_length",
    "document_prefix",
    "keep_in_fp32_modules",
    "max_active_dims",
    "model_type",
    "prompts",
    "query_length",
    "query_prefix",
    "requirements",
    "similarity_fn_name",
    "skiplist_words",
    "truncate_dim",
}

# Of a folder of Model2Vec's without modules.json: normalize, max_length and head_config are read by model2vec.py, the
# others say how it was made. Every other config.json is read by the engine.
_MODEL2VEC = {
    "apply_pca",
    "apply_zipf",
    "architectures",
    "embedding_dtype",
    "head_config",
    "hidden_dim",
    "max_length",
    "model_type",
    "normalize",
    "pooling",
    "seq_length",
    "sif_coefficient",
    "tokenizer_name",
    "vocabulary_quantization",
}

KNOWN = {
    "config.json": _MODEL2VEC,
    "tokenizer_config.json": _TOKENIZER_READ | _TOKENIZER_HARMLESS,
    "sentence_bert_config.json": _TRANSFORMER,
    "config_sentence_transformers.json": _SENTENCE_TRANSFORMER,
}
IGNORE = "where you know that it does not, name the model with ,ignore={field} behind its folder"


def refuse_unknown(file: str, fields: Collection[str], ignored: Collection[str]) -> None:
    """Raise ModelError for a field of a file that is in no list above."""
    for field in fields:
        if field not in KNOWN[file] and field not in ignored and not _is_token(file, field):
            raise ModelError(f"{file}: {field} is not known here, and may change answers; {IGNORE.format(field=field)}")


def _is_token(file: str, field: str) -> bool:
    """Names of special tokens are a model's own: image_token, boi_token, ..."""
    return file == "tokenizer_config.json" and field.endswith("_token")


def without(fields: dict[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    """The fields that are not ignored."""
    return {name: value for name, value in fields.items() if name not in ignored}
