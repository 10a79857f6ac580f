"""The short way of whole small requests: aiohttp's parser, and then neither its request objects nor a task.

A connection takes it while nothing else is in progress on it; everything else goes the usual way, with the same
answers.
"""
