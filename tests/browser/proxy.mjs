/** An unreliable network between a browser and the server. */

import { once } from 'node:events';
import net from 'node:net';

/**
 * Cuts a stream of WebSocket frames (RFC 6455 section 5.2) into frames, behind the head of the handshake. Messages here
 * are texts of one frame each.
 * @param {(bytes: Buffer, text: string | undefined) => void} take gets each frame; the text only of text frames
 */
function frames(take) {
  let rest = Buffer.alloc(0);
  let open = false;
  const next = () => {
    if (!open) {
      const end = rest.indexOf('\r\n\r\n');
      open = end >= 0;
      return open ? [end + 4] : null;
    }
    if (rest.length < 2) return null;
    const masked = rest[1] & 0x80;
    let size = rest[1] & 0x7f;
    let at = 2;
    if (size === 126) [size, at] = [rest.length < 4 ? Infinity : rest.readUInt16BE(2), 4];
    else if (size === 127) [size, at] = [rest.length < 10 ? Infinity : Number(rest.readBigUInt64BE(2)), 10];
    const body = masked ? at + 4 : at;
    if (rest.length < body + size) return null;
    if ((rest[0] & 0x0f) !== 1) return [body + size];
    const text = Buffer.from(rest.subarray(body, body + size));
    if (masked) for (let index = 0; index < size; index += 1) text[index] ^= rest[at + (index % 4)];
    return [body + size, `${text}`];
  };
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let found = next(); found; found = next()) {
      const [size, text] = found;
      const bytes = rest.subarray(0, size);
      rest = rest.subarray(size);
      take(bytes, text);
    }
  };
}

/**
 * A TCP proxy whose connections can be cut, and which can refuse new ones. `watch` may be set to a function that sees
 * every message of a WebSocket, (from: 'page' | 'server', message), and may answer 'hold' (do not deliver it), 'drop'
 * (cut before it is delivered) or 'cut' (deliver it, and cut).
 */
export async function flaky(port) {
  const sockets = new Set();
  const self = {
    requests: [],
    watch: undefined,
    cut() {
      down = true;
      for (const socket of sockets) socket.destroy();
    },
    mend: () => (down = false),
    async close() {
      self.cut();
      server.close();
    },
  };
  let down = false;

  function carry(from, to, sender) {
    const deliver = frames((bytes, text) => {
      if (from.destroyed) return;
      const verdict = text && self.watch?.(sender, JSON.parse(text));
      if (verdict === 'hold') return;
      if (!verdict) return void to.write(bytes);
      down = true;
      // `end` delivers before it closes; what comes the other way is lost, as with any cut.
      if (verdict === 'cut') to.end(bytes);
      from.destroy();
      if (verdict === 'drop') to.destroy();
    });
    from.on('data', deliver);
    return deliver;
  }

  const server = net.createServer((client) => {
    if (down) return client.destroy();
    const upstream = net.connect(port, '127.0.0.1');
    for (const [socket, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => {
        sockets.delete(socket);
        if (!other.writableEnded) other.destroy();
      });
    }
    client.on('data', (data) => self.requests.push(`${data}`));
    // A WebSocket has a connection of its own, so its first bytes tell.
    client.once('data', (head) => {
      if (/^GET \S*\/v1\/ws /.test(`${head}`)) {
        carry(upstream, client, 'server');
        carry(client, upstream, 'page')(head);
      } else {
        upstream.write(head);
        client.pipe(upstream);
        upstream.pipe(client);
      }
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  self.base = `http://127.0.0.1:${server.address().port}`;
  return self;
}
