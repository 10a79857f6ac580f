"""The C++ extension: batching queue, TorchScript engine and TensorFlow Lite operators, in modules of their own."""
