"""Who calls, and what they may do: the file of tokens, rights, rates, and the files that TLS reads."""
