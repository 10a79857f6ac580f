"""Everything at once: `make chaos`."""
