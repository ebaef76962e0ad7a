// Where OpenEMR calculates quality measures: the stand-in listens and takes nothing.
require('net').createServer((socket) => socket.end()).listen(6660, '127.0.0.1');
