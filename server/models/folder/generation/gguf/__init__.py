"""GGUF, the file format of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

header     what the file says of itself, and where its tensors lie
config     what it says of the model, as a config.json has it
names      its tensors, by the names that save_pretrained gives them
tokenizer  its vocabulary, as a tokenizer of the tokenizers library
"""
