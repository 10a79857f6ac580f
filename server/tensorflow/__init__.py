"""TensorFlow SavedModels, by TensorFlow Serving's own gRPC API: another server's, or that of a child process here.

Nothing here imports TensorFlow in the server's process: `model_server` alone does, in its own.

Imports run one way: location, protocol < tensors < signature < instances, predictions, client < model_server, launcher
< child_server, remote_server < caller < predictor < __main__. Of the rest of the server this knows its errors only.
"""
