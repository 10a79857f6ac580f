// A client of the tutorial's contract: PORT framed|unframed DOCUMENT prints a line "label score" for each label.
const thrift = require('thrift');
const Predictor = require('./Predictor');

const [port, framing, doc] = process.argv.slice(2);
const connection = thrift.createConnection('127.0.0.1', Number(port), {
  transport: framing === 'framed' ? thrift.TFramedTransport : thrift.TBufferedTransport,
  protocol: thrift.TBinaryProtocol,
});
connection.on('error', (error) => {
  throw error;
});
thrift.createClient(Predictor, connection).predict(doc, (error, scores) => {
  if (error) throw error;
  for (const [label, score] of Object.entries(scores)) console.log(label, score);
  connection.end();
});
