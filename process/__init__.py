"""What the server and the REST proxy share as processes; it knows neither Thrift nor HTTP."""
