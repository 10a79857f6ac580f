// What the page's script is made from: the page calls it.
'use strict';
window.call = require('./call');
