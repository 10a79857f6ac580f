"""Generated Thrift clients in many languages: one scenario, written out as a program of each."""
