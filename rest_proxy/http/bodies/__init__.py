"""Bodies of requests: how they are read, unpacked and taken apart, in time and memory of their length."""
