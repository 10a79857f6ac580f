"""The server with an extension that was built with sanitizers: `make sanitize-server`."""
