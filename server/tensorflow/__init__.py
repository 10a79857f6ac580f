"""TensorFlow SavedModels, by TensorFlow Serving's own gRPC API: another server's, or that of a child process here.

Nothing here imports TensorFlow in the server's process: `standin` alone does, in its own.
"""
