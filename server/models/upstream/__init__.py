"""Models of upstream servers (server/upstream): `model` has the queues, `readings` and `generations` make the calls."""
