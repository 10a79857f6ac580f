# A client of the tutorial's contract: PORT framed|unframed DOCUMENT prints a line "label score" for each label.
require 'thrift'
require 'predictor'

port, framing, doc = ARGV
socket = Thrift::Socket.new('127.0.0.1', port.to_i)
transport = (framing == 'framed' ? Thrift::FramedTransport : Thrift::BufferedTransport).new(socket)
client = Predictor::Client.new(Thrift::BinaryProtocol.new(transport))
transport.open
client.predict(doc).each { |label, score| puts "#{label} #{score}" }
transport.close
