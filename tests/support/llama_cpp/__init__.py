"""llama.cpp's own HTTP server, from the package xllamacpp, with small random models in GGUF."""
