"""The same model in other servers, each with the settings that measured best, in a virtual environment of its own.

The modules here run in those environments, so they import nothing of this project.
"""
