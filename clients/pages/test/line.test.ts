/** A line that is cut: what is under way ends, new requests fail, and later all is well again. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Line } from '../src/watch/line.js';

/** A server that answers with the chunks it is given, until its request is aborted. */
function server() {
  let body: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  const outside: typeof fetch = async (_input, init) =>
    new Response(
      new ReadableStream({
        start(controller) {
          body = controller;
          init?.signal?.addEventListener('abort', () => controller.error(init.signal?.reason));
        },
      }),
      { status: 200, headers: { 'content-type': 'text/event-stream' } },
    );
  return { outside, write: (text: string) => body?.enqueue(new TextEncoder().encode(text)) };
}

test('it counts requests, bytes and heartbeats, also one in two pieces', async () => {
  const { outside, write } = server();
  const line = new Line(outside);
  const response = await line.fetch('http://somewhere/');
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  const reader = response.body?.getReader();
  write('event: open\n\nevent: hear');
  await reader?.read();
  assert.equal(line.beat, 0);
  write('tbeat\n\n');
  await reader?.read();
  assert.ok(line.beat > 0 && line.heard >= line.beat);
  assert.deepEqual([line.requests, line.bytes], [1, 31]);
  await reader?.cancel();
});

test('a cut ends a body in the middle, refuses what is new, and mends', async () => {
  const { outside, write } = server();
  const line = new Line(outside);
  const reader = (await line.fetch('http://somewhere/')).body?.getReader();
  write('half');
  await reader?.read();
  const mended = new Promise<void>((done) => line.cut(1, done));
  await assert.rejects(async () => reader?.read(), /cut/);
  await assert.rejects(line.fetch('http://somewhere/'), /cut/);
  assert.deepEqual([line.requests, line.cuts, line.whole], [1, 1, false]);
  await mended;
  assert.equal(line.whole, true);
  const again = (await line.fetch('http://somewhere/')).body?.getReader();
  write('whole');
  assert.equal(new TextDecoder().decode((await again?.read())?.value), 'whole');
  await again?.cancel();
});

test('the own signal of a request goes on to count', async () => {
  const { outside } = server();
  const end = new AbortController();
  const reader = (await new Line(outside).fetch('http://somewhere/', { signal: end.signal })).body?.getReader();
  end.abort(new Error('enough'));
  await assert.rejects(async () => reader?.read(), /enough/);
});
