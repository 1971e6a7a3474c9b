// The same relay with the package ws on Node.js: each message is framed once for each receiver, as the package does it.
// Started by the bench: `node ws.mjs PORT`.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const PUBLISH = 'p'.charCodeAt(0);
const SIGNAL = 's'.charCodeAt(0);
const rooms = new Map();
const guests = new Map();

const server = createServer((_, response) => response.end('ready'));
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 65_536 });
sockets.on('connection', (socket, request) => {
  const [, name, n] = request.url.split('/');
  if (!rooms.has(name)) rooms.set(name, new Set());
  const room = rooms.get(name);
  room.add(socket);
  guests.set(Number(n), socket);
  socket.on('message', (message) => {
    if (message[0] === PUBLISH) {
      const payload = message.subarray(1);
      for (const member of room) if (member !== socket) member.send(payload);
    } else if (message[0] === SIGNAL) guests.get(message.readUInt32LE(1))?.send(message);
    else socket.send(message);
  });
  socket.on('close', () => {
    room.delete(socket);
    guests.delete(Number(n));
  });
});
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
