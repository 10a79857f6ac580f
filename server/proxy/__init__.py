"""HTTP beside Thrift: in this process (`inside`), or by `python -m rest_proxy` as a child process (`child`)."""
