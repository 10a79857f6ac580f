"""Models on a hub that answers as Hugging Face's does: names, lists of files, and files that are fetched and checked.

What is asked for over the network, and what HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE mean, is
huggingface_hub's. Ours is what it does not do: to resume a file that an earlier process began, to compare a file with
its checksum, and to stop in the middle of one. Which files a model needs is not known here, but in
server/models/from_hub.py.
"""
