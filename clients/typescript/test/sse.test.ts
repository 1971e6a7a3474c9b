/** The parser of event streams, against the rules of WHATWG HTML, "Server-sent events". */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventStream, LONGEST, type Block } from '../src/feed/sse.js';

const bytes = (text: string) => new TextEncoder().encode(text);

function parse(...chunks: Uint8Array[]): Block[] {
  const stream = new EventStream();
  return chunks.flatMap((chunk) => [...stream.push(chunk)]);
}

test('the fields of a block', () => {
  const [block, ...rest] = parse(bytes('event: score\ndata: 1\nid: abc\n\n'));
  assert.deepEqual(block, { event: 'score', data: '1', id: 'abc' });
  assert.equal(rest.length, 0);
});

test('several data lines are joined, one space is taken away, and a field may have no value', () => {
  assert.deepEqual(parse(bytes('data:a\ndata:  b\ndata\ndata: \n\n')).map(({ data }) => data), ['a\n b\n\n']);
});

test('comments and unknown fields are left out, and so is a block without data', () => {
  const blocks = parse(bytes(': hello\nfoo: bar\nevent: x\n\ndata: y\n\n'));
  assert.deepEqual(blocks, [{ event: 'message', data: 'y', id: undefined }]);
});

test('an id stays until there is another, and one with NUL is ignored', () => {
  const ids = parse(bytes('id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n')).map(({ id }) => id);
  assert.deepEqual(ids, ['1', '1', '1', '']);
});

test('only digits are a retry', () => {
  const stream = new EventStream();
  const retry = (text: string) => {
    for (const _ of stream.push(bytes(text))) assert.fail('no block has ended');
    return stream.retry;
  };
  const said = ['retry: 250\n', 'retry: -1\n', 'retry: 1.5\n', 'retry:\n', 'retry: 7\n'];
  assert.deepEqual(said.map(retry), [250, 250, 250, 250, 7]);
});

test('a block that the stream cuts off is not told', () => {
  assert.deepEqual(parse(bytes('data: a\n\ndata: b\n')).map(({ data }) => data), ['a']);
});

test('every line end, cut at every place, in two and byte by byte', () => {
  for (const end of ['\n', '\r', '\r\n']) {
    const first = ['\uFEFF: a comment', 'event: größe', 'data: 👋 one', 'data: two: 2', 'id: €', ''];
    const all = bytes([...first, 'data: three', '', ''].join(end));
    const wanted = [{ event: 'größe', data: '👋 one\ntwo: 2', id: '€' }, { event: 'message', data: 'three', id: '€' }];
    for (let cut = 0; cut <= all.length; cut++) {
      assert.deepEqual(parse(all.slice(0, cut), all.slice(cut)), wanted, `cut at ${cut} with ${JSON.stringify(end)}`);
    }
    const single = parse(...[...all].map((byte) => Uint8Array.of(byte)));
    assert.deepEqual(single, wanted, `byte by byte with ${JSON.stringify(end)}`);
  }
});

test('only the first byte order mark is taken away', () => {
  const data = (text: string) => parse(bytes(text)).map((block) => block.data);
  assert.deepEqual(data('\uFEFFdata: a\n\ndata: b\n\n'), ['a', 'b']);
  assert.deepEqual(data('\uFEFF\uFEFFdata: a\n\ndata: b\n\n'), ['b']);
});

test('a line, or the data of a block, that has no end is an error', () => {
  const long = new Uint8Array(LONGEST / 4).fill(0x61);
  assert.throws(() => parse(bytes('data: '), long, long, long, long), RangeError);
  const line = bytes(`data: ${'a'.repeat(LONGEST / 4)}\n`);
  assert.throws(() => parse(line, line, line, line), RangeError);
  assert.equal(parse(line, line, line, bytes('\n')).length, 1);
});
