// PORT PROTOCOL TEXT: prints the scores.
'use strict';
const call = require('./call');

const [port, protocol, text] = process.argv.slice(2);
call(Number(port), protocol, text).then((scores) => console.log(JSON.stringify(scores)));
