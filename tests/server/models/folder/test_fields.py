"""No field of the files that people have is refused as unknown; one that nobody knows is."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import ModelError
from server.models.folder.fields import refuse_unknown

BERT_TOKENS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}
ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True},
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
}
DECODER = {"0": {"content": "[PAD]", "lstrip": False, "normalized": False, "rstrip": False, "special": True}}

# tokenizer_config.json as these folders, or their kin, have it on the hub.
TOKENIZERS: dict[str, dict[str, Any]] = {
    "sentence-transformers/all-MiniLM-L6-v2": BERT_TOKENS
    | {
        "do_lower_case": True,
        "tokenize_chinese_chars": True,
        "strip_accents": None,
        "name_or_path": "nreimers/MiniLM-L6-H384-uncased",
        "do_basic_tokenize": True,
        "never_split": None,
        "tokenizer_class": "BertTokenizer",
        "model_max_length": 512,
    },
    "BAAI/bge-small-en-v1.5": BERT_TOKENS
    | {
        "added_tokens_decoder": DECODER,
        "clean_up_tokenization_spaces": True,
        "do_basic_tokenize": True,
        "do_lower_case": True,
        "model_max_length": 512,
        "never_split": None,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    },
    "sentence-transformers/all-mpnet-base-v2": ROBERTA_TOKENS
    | {
        "do_lower_case": True,
        "tokenize_chinese_chars": True,
        "strip_accents": None,
        "model_max_length": 512,
        "special_tokens_map_file": None,
        "name_or_path": "microsoft/mpnet-base",
        "tokenizer_class": "MPNetTokenizer",
    },
    "intfloat/multilingual-e5-base": ROBERTA_TOKENS
    | {
        "clean_up_tokenization_spaces": True,
        "model_max_length": 512,
        "sp_model_kwargs": {},
        "tokenizer_class": "XLMRobertaTokenizer",
    },
    "SamLowe/roberta-base-go_emotions": ROBERTA_TOKENS
    | {
        "add_prefix_space": False,
        "errors": "replace",
        "model_max_length": 512,
        "name_or_path": "roberta-base",
        "special_tokens_map_file": None,
        "tokenizer_class": "RobertaTokenizer",
        "trim_offsets": True,
    },
    "dslim/bert-base-NER": {"do_lower_case": False, "max_len": 512, "init_inputs": []},
    "MoritzLaurer/deberta-v3-base-zeroshot": BERT_TOKENS
    | {
        "added_tokens_decoder": DECODER,
        "bos_token": "[CLS]",
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "eos_token": "[SEP]",
        "extra_special_tokens": {},
        "model_max_length": 512,
        "sp_model_kwargs": {},
        "split_by_punct": False,
        "tokenizer_class": "DebertaV2Tokenizer",
        "vocab_type": "spm",
    },
    "nomic-ai/nomic-embed-text-v1.5": BERT_TOKENS
    | {
        "added_tokens_decoder": DECODER,
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "max_length": 8192,
        "model_max_length": 8192,
        "pad_to_multiple_of": None,
        "pad_token_type_id": 0,
        "padding_side": "right",
        "stride": 0,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "truncation_side": "right",
        "truncation_strategy": "longest_first",
    },
    "Alibaba-NLP/gte-modernbert-base": BERT_TOKENS
    | {
        "added_tokens_decoder": DECODER,
        "clean_up_tokenization_spaces": True,
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
    "Qwen/Qwen3-Embedding-0.6B": {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": DECODER,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "chat_template": "{{ messages }}",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    },
    "google/embeddinggemma-300m": {
        "add_bos_token": True,
        "add_eos_token": True,
        "added_tokens_decoder": DECODER,
        "additional_special_tokens": None,
        "boi_token": "<start_of_image>",
        "bos_token": "<bos>",
        "clean_up_tokenization_spaces": False,
        "eoi_token": "<end_of_image>",
        "eos_token": "<eos>",
        "extra_special_tokens": {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>"},
        "image_token": "<image_soft_token>",
        "mask_token": "<mask>",
        "model_max_length": 2048,
        "pad_token": "<pad>",
        "padding_side": "right",
        "sp_model_kwargs": None,
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    },
    "sentence-transformers/sentence-t5-base": {
        "additional_special_tokens": ["<extra_id_0>"],
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "extra_ids": 100,
        "model_max_length": 512,
        "name_or_path": "t5-base",
        "pad_token": "<pad>",
        "special_tokens_map_file": None,
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    },
    "paraphrase-albert-small-v2": BERT_TOKENS
    | {
        "bos_token": "[CLS]",
        "do_lower_case": True,
        "eos_token": "[SEP]",
        "keep_accents": False,
        "model_max_length": 512,
        "remove_space": True,
        "sp_model_kwargs": {},
        "tokenizer_class": "AlbertTokenizer",
        "tokenizer_file": None,
    },
    "saved by transformers 5": BERT_TOKENS
    | {
        "backend": "tokenizers",
        "do_lower_case": True,
        "is_local": True,
        "local_files_only": False,
        "model_max_length": 512,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    },
}

VERSION = {"__version__": {"sentence_transformers": "3.0.1", "transformers": "4.41.2", "pytorch": "2.3.1"}}
SENTENCE_TRANSFORMERS: list[dict[str, Any]] = [
    VERSION,
    VERSION | {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": None},
    VERSION | {"prompts": {"query": "Instruct: "}, "default_prompt_name": "query", "similarity_fn_name": "cosine"},
    VERSION | {"model_type": "SentenceTransformer", "prompts": {"query": "", "document": ""}, "truncate_dim": 256},
    VERSION | {"model_type": "SparseEncoder", "prompts": {}, "max_active_dims": 256, "similarity_fn_name": "dot"},
    VERSION | {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"},
    VERSION | {"requirements": {"transformers": ">=5"}},
]
TRANSFORMERS: list[dict[str, Any]] = [
    {"max_seq_length": 256, "do_lower_case": False},
    {"max_seq_length": None, "do_lower_case": True, "model_args": {}, "tokenizer_args": {}, "config_args": {}},
    {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "unpad_inputs": False,
    },
    {"query_length": 32, "document_length": 180, "query_expansion": {"strategy": "fixed", "length": 32}},
]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers_of_the_hub(name: str) -> None:
    refuse_unknown("tokenizer_config.json", TOKENIZERS[name], ())


@pytest.mark.parametrize("config", SENTENCE_TRANSFORMERS)
def test_settings_of_sentence_transformers(config: dict[str, Any]) -> None:
    refuse_unknown("config_sentence_transformers.json", config, ())


@pytest.mark.parametrize("config", TRANSFORMERS)
def test_settings_of_its_transformer(config: dict[str, Any]) -> None:
    refuse_unknown("sentence_bert_config.json", config, ())


@pytest.mark.parametrize(
    "file", ["tokenizer_config.json", "config_sentence_transformers.json", "sentence_bert_config.json"]
)
def test_a_field_that_nobody_knows(file: str) -> None:
    with pytest.raises(ModelError) as caught:
        refuse_unknown(file, {"reverse_words": True}, ())
    assert str(caught.value).startswith(f"{file}: reverse_words is not known here, and may change answers; ")
    refuse_unknown(file, {"reverse_words": True}, {"reverse_words"})
