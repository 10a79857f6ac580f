"""Small folders of models as `save_pretrained` writes them, with random weights, and what their own libraries answer.

    vocabularies  tokenizers of every form, trained on a few sentences, saved by the library's own classes
    architectures a small configuration of each architecture, and its model with random weights
    heads         folders: sentence encoders, classifiers, taggers, rerankers, sparse and late-interaction encoders
    forms         the same folder as older versions and other writers leave it: shards, float16, pytorch_model.bin, ...
    table         one row for each folder that is served, by name
    reference     what transformers and sentence-transformers answer, in float32

transformers and sentence-transformers take seconds to import: only modules of this package do it, inside functions.
"""
