// One call over HTTP, in Node.js and in a browser: `call(port, protocol, text)` gives the scores.
'use strict';
const thrift = require('thrift');
const Predictor = require('./Predictor');

const TYPES = { TBinaryProtocol: 'binary', TCompactProtocol: 'compact', TJSONProtocol: 'json' };

function call(port, protocol, text) {
  const options = {
    path: '/thrift',
    transport: thrift.TBufferedTransport,
    protocol: thrift[protocol],
    headers: { 'Content-Type': `application/vnd.apache.thrift.${TYPES[protocol]}` },
  };
  const inBrowser = !thrift.createHttpConnection;
  const connection = (inBrowser ? thrift.createXHRConnection : thrift.createHttpConnection)('127.0.0.1', port, options);
  const client = (inBrowser ? thrift.createXHRClient : thrift.createHttpClient)(Predictor, connection);
  return new Promise((resolve, reject) => {
    connection.on('error', reject);
    client.predict(text, (error, scores) => (error ? reject(error) : resolve(scores)));
  });
}

module.exports = call;
