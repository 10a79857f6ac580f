"""Language models of the shapes that people serve: our engine beside llama.cpp's server and CTranslate2.

models   the shapes, and their folders and files with the same random weights
engines  what is asked of each engine, and how it is asked
ours     ours, in this process; llama_cpp and ctranslate2: the others
parts    what is measured, a part at a time, the engines in turns
report   tables, and what is asked of ours
"""
