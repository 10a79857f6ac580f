"""The HTTP proxy of the prediction service: plain HTTP requests in, Thrift calls out.

It knows the contract (`predictor.thrift`, the generated package `predictor`) and nothing else of the server, so it can
run beside one server or alone in front of several.
"""
