"""Models are tried in a process of their own before a server that answers loads them.

A file may end the process that reads it, or never be done: libraries that read or run models are written for files that
one trusts. That must not be the end of those whose calls the server is answering.
"""
