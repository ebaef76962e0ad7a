// Where OpenEMR makes C-CDA documents: the stand-in listens and takes nothing.
require('net').createServer((socket) => socket.end()).listen(6661, '127.0.0.1');
