"""Conversations: how the messages of a chat become a prompt, and what a model says becomes an answer.

conversation  the contract's messages and options, checked
templates     which chat templates a folder has
environment   Jinja as chat templates expect it, in a sandbox
worker        the process in which templates are rendered: what a template does there, the server does not feel
renderer      that process, seen from the event loop
prompt        what a template is told, and what is done with what it says
tool_calls    calls of tools, in the forms in which models write them
chat          the above, together
"""
