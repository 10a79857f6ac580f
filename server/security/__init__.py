"""Who may call what: one check in front of the handlers, for both ports."""
