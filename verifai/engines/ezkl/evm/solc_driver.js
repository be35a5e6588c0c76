// One run of the compiler: node solc_driver.js SOLJSON INPUT OUTPUT; input and output are solc's standard JSON.
// Without a callback (0) the compiler can read no file beyond its input.
'use strict';
const fs = require('fs');

const [soljson, input, output] = process.argv.slice(2);
const compiler = require(soljson);
const compile = compiler.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);
fs.writeFileSync(output, compile(fs.readFileSync(input, 'utf8'), 0, 0));
