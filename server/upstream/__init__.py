"""Models on another server that speaks OpenAI's API: vLLM, SGLang, llama.cpp's, TGI, or one of ours.

`location` reads openai://HOST:PORT/MODEL, `client` makes the calls, `events` and `answers` check what comes back,
`servers` knows what each kind of server calls an option, and `discovery` asks which methods a model has.
"""
