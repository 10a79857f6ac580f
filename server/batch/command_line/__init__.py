"""What python -m server.batch reads from its arguments and shows on a terminal. Imports run one way: methods < this."""
