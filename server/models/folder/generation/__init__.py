"""Folders of Hugging Face whose model generates text.

generator_folder  which folders those are, and what the engine needs of one
token_bytes       what each token of the vocabulary writes
defaults          generation_config.json: what a request means that leaves options out, and which tokens end a text
adapter           what an adapter of peft's adds to the weights
grouped           weights that GPTQ or AWQ has quantised
gguf              the same of a file of llama.cpp's
load              the engine and the model behind it
"""
