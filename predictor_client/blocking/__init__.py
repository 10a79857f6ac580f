"""The client for threads. client.py is written by scripts/write_client.py from the one for asyncio."""
