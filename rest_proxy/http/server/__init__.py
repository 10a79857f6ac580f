"""The HTTP server: connections with their limits, and what belongs to every answer, whatever the route."""
