// Starts each Node service that OpenEMR starts by itself, until it listens: node start-node-services.js CCDASERVICE
// The image is built only when all do; without them C-CDA documents, their validation and quality measures would fail.
'use strict';

const { spawn } = require('child_process');
const { existsSync } = require('fs');
const { connect } = require('net');

const SERVICES = [
  { port: 6661, files: ['serveccda.js'] },
  { port: 6662, files: ['node_modules/oe-schematron-service/app.js'] },
  { port: 6660, files: ['node_modules/oe-cqm-service/server.js', 'packages/oe-cqm-service/server.js'] },
];
const SECONDS = 15;

function listens(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true) || socket.destroy());
    socket.on('error', () => resolve(false));
  });
}

async function start({ port, files }) {
  const file = files.find(existsSync);
  if (!file) throw new Error(`ccdaservice has none of ${files.join(', ')}`);
  const service = spawn(process.execPath, [file], { stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    for (let left = SECONDS * 10; !(await listens(port)); left -= 1) {
      if (left === 0 || service.exitCode !== null) throw new Error(`${file} does not listen on port ${port}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    service.kill('SIGKILL');
  }
  console.log(`${file} listens on port ${port}`);
}

process.chdir(process.argv[2]);
Promise.all(SERVICES.map(start)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
