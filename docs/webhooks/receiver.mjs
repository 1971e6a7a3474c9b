// A receiver of rallypoint's webhooks: checks who a delivery is from, and takes each event once.
//
//   WEBHOOK_SECRET=whsec_… PORT=8080 node receiver.mjs

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ''), 'base64');
const seen = new Set(); // in production: where your data is, in the transaction that uses the event

/** Whether the signature is ours and no older than five minutes; `body` is the bytes as they came. */
function isGenuine(headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures = '' } = headers;
  if (!(Math.abs(Date.now() / 1000 - timestamp) < 300)) return false;
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
  return signatures.split(' ').some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ''), 'base64');
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end();
  const event = JSON.parse(body);
  if (!seen.has(event.id)) {
    // `lost` says that events of its room are missing here: ask GET /v1/rooms/{room}/members who is there.
    console.log(JSON.stringify(event));
    seen.add(event.id); // only now: had this failed, the event would come again
  }
  response.writeHead(204).end();
});

server.listen(process.env.PORT ?? 8080, '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listens on ${address}:${port}`);
});
