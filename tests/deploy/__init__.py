"""What deploy/ holds: valid by the published schemas, and true of this server."""
