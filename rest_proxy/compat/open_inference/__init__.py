"""The Open Inference Protocol, version 2, over HTTP, as Triton, KServe, OpenVINO's server and MLServer speak it."""
