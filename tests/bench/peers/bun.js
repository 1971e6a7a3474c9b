// The same relay in Bun: its own publish to topics, its own event streams. Started by the bench: `bun bun.js PORT`.
const PUBLISH = 'p'.charCodeAt(0);
const SIGNAL = 's'.charCodeAt(0);
const CHAT = 'c'.charCodeAt(0);
const guests = new Map();
/** By room: streams, polls that wait, and what was said, for polls that come late. */
const stages = new Map();
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const stage = (room) => {
  if (!stages.has(room)) stages.set(room, { streams: new Set(), polls: new Set(), said: [] });
  return stages.get(room);
};

function say(room, bytes) {
  const { streams, polls, said } = stage(room);
  const text = decoder.decode(bytes);
  said.push(text);
  const event = encoder.encode(`data: ${text}\n\n`);
  for (const stream of streams) stream.enqueue(event);
  for (const answer of polls) answer(new Response(text));
  polls.clear();
}

function events(room) {
  const { streams } = stage(room);
  let own;
  const body = new ReadableStream({
    start(controller) {
      own = controller;
      streams.add(controller);
      controller.enqueue(encoder.encode(': hello\n\n'));
    },
    cancel: () => streams.delete(own),
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

function poll(room, after) {
  const { polls, said } = stage(room);
  if (after < said.length) return new Response(said[after]);
  return new Promise((answer) => polls.add(answer));
}

Bun.serve({
  port: Number(process.argv[2]),
  hostname: '127.0.0.1',
  idleTimeout: 0,
  fetch(request, server) {
    const url = new URL(request.url);
    const [, room, n] = url.pathname.split('/');
    if (room === 'events') return events(n);
    if (room === 'poll') return poll(n, Number(url.searchParams.get('after')));
    if (server.upgrade(request, { data: { room, n: Number(n) } })) return undefined;
    return new Response('ready');
  },
  websocket: {
    idleTimeout: 0,
    perMessageDeflate: false,
    maxPayloadLength: 65_536,
    backpressureLimit: 16 * 1024 * 1024,
    closeOnBackpressureLimit: false,
    sendPings: false,
    open(socket) {
      socket.subscribe(socket.data.room);
      guests.set(socket.data.n, socket);
    },
    message(socket, message) {
      if (message[0] === PUBLISH) socket.publish(socket.data.room, message.subarray(1));
      else if (message[0] === SIGNAL) guests.get(message.readUInt32LE(1))?.send(message);
      else if (message[0] === CHAT) say(socket.data.room, message.subarray(1));
      else socket.send(message);
    },
    close(socket) {
      guests.delete(socket.data.n);
    },
  },
});
