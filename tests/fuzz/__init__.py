"""Coverage-guided fuzzers of whatever comes from outside: `make fuzz`.

targets    what takes a fuzzer's bytes, and gives right ones to begin with
unit       what a unit may cost, and which faults it may not have
mutations  of JSON, by its structure
engine     one target under atheris
crashes    what was found, tried by the ordinary tests
"""
