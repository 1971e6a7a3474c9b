/** A socket is lost: what comes back, what is asked for again, and what is told of it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LostError, QueueFullError, RequestError } from '../src/errors.js';
import { inside, type RoomEvents } from '../src/room.js';
import type { Inside } from '../src/room/inside.js';
import { at, Bench, chat, connected, entry, hear, joined, ME, OTHER, reset, RESUMED, THIRD } from './bench.js';

test('a resume says where it stands, sends nothing before the answer, and misses nothing', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  bench.socket.hear(chat(11));
  bench.socket.hear({ type: 'offer', room: 'a', from: OTHER, data: 0 });
  const first = room.say('one');
  room.sendReliable(1);
  room.send(2);
  bench.socket.lose(1006);
  const second = room.say('two');
  await bench.next();
  bench.socket.open();
  const [hello, ...rest] = bench.socket.take();
  assert.deepEqual(hello, {
    type: 'resume', token: 'token-1', received: 1, positions: { a: at(11) }, jwt: 'token', notifications_since: at(100),
  });
  assert.deepEqual(rest, []);
  room.typing();
  room.send(2);
  assert.deepEqual(bench.said(), [], 'what is said now would confirm a token that we do not have yet');
  bench.socket.hear(RESUMED);
  assert.deepEqual(bench.said(), ['move 1', 'move 3', 'message 2 one', 'ping 3', 'message 4 two']);
  bench.socket.hear(joined(null, 13, { missed: [chat(12), chat(13)] }));
  bench.socket.hear(chat(14));
  for (const [re, seq] of [[2, 14], [4, 15]]) bench.socket.hear({ type: 'ok', re, position: at(seq ?? 0) });
  assert.deepEqual([await first, await second], [at(14), at(15)]);
  assert.deepEqual(heard, ['message 11', 'message 12 missed', 'message 13 missed', 'shown missed', 'message 14']);
  assert.deepEqual(bench.states, ['connecting', 'connected', 'reconnecting', 'reconnecting', 'connected']);
  assert.deepEqual(bench.asked, ['first', 'again']);
});

test('a join that was on its way at the loss shows the room once, with each event once and in order', async () => {
  const bench = new Bench();
  await bench.open();
  const coming = bench.client.join('a', { since: at(10) });
  bench.said();
  await bench.again(RESUMED);
  assert.deepEqual(bench.said(), ['join 1'], 'the same id: it may have been carried out');
  bench.socket.hear(joined(null, 12));
  bench.socket.hear(chat(13));
  bench.socket.hear({ type: 'offer', room: 'a', from: OTHER, data: 0 });
  bench.socket.hear(joined(1, 13, { missed: [chat(11), chat(12), chat(13)] }));
  const room = await coming;
  const heard = hear(room);
  await bench.env.turn(0);
  assert.deepEqual(heard, ['message 11 missed', 'message 12 missed', 'shown missed', 'message 13']);
  bench.socket.hear(chat(14));
  assert.deepEqual([heard.at(-1), room.position], ['message 14', at(14)]);
  // Lost again before the answer: the room is told with the answer, whatever was shown.
  const other = new Bench();
  await other.open();
  const second = other.client.join('a');
  await other.again(RESUMED);
  other.socket.hear(joined(null, 12));
  const hello = await other.again(RESUMED);
  assert.deepEqual(hello?.['positions'], {});
  other.socket.hear(joined(null, 14));
  other.socket.hear(joined(1, 14));
  assert.equal((await second).position, at(14));
});

test('a session that lost something: the room anew, requests go on, the game as it was does not', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  const calls: Inside[] = [];
  inside(room).listen((what) => calls.push(what));
  const lost: RoomEvents['lost'][] = [];
  room.on('lost', (what) => lost.push(what));
  const said = room.say('one');
  room.sendReliable(1);
  room.sendReliable({ turn: 4 }, { key: 5, to: [OTHER] });
  room.send(2);
  room.send(3, { to: [OTHER] });
  bench.said();
  await bench.again(connected({ resume: 'token-2' }));
  assert.deepEqual(lost, [{
    moves: [{ data: 1, key: 0, to: undefined }, { data: { turn: 4 }, key: 5, to: [OTHER] }], reason: 'the session was lost',
  }]);
  assert.deepEqual(bench.said(), ['message 2 one', 'ping 3'], 'moves wait for the handle');
  bench.socket.hear(joined(null, 20));
  bench.socket.hear(reset(at(20)));
  bench.socket.hear({ type: 'ok', re: 2, position: at(21) });
  assert.equal(await said, at(21));
  assert.deepEqual(bench.socket.take().map(({ data }) => data).filter((data) => data !== undefined), [2]);
  assert.deepEqual(heard, ['reset', 'shown'], 'drawn once');
  assert.deepEqual(calls.map((what) => what.type === 'shown' && [what.anew, what.lossy]), [[false, false], [false, true], [false, false]]);
  // Signals that are lost while connected are told with the reset.
  bench.socket.hear(reset(at(22)));
  bench.socket.hear(reset(at(23), { reason: 'epoch' }));
  assert.deepEqual(calls.slice(-2).map((what) => what.type === 'shown' && what.lossy), [true, false]);
});

test('until a reset is here the client stands where it stood', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  await bench.again(connected());
  bench.socket.hear(joined(null, 20));
  const hello = await bench.again(connected());
  assert.deepEqual(hello?.['positions'], { a: at(10) });
  bench.socket.hear(joined(null, 20));
  bench.socket.hear(reset(at(21)));
  assert.deepEqual((await bench.again(RESUMED))?.['positions'], { a: at(21) });
  assert.equal(room.isLeft, false);
});

test('a restarted server: the same peer in a room anew, the unanswered lost, our state told again', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const updated = room.update({ ready: true });
  bench.socket.hear({ type: 'ok', re: 2 });
  await updated;
  assert.deepEqual(room.you.state, { ready: true });
  const calls: Inside[] = [];
  inside(room).listen((what) => calls.push(what));
  const said = room.say('one');
  bench.said();
  await bench.again(connected({ session: 'another' }));
  await assert.rejects(said, LostError);
  bench.socket.hear(joined(null, 1, { position: at(1, '0000000000000001'), members: [], count: 1 }));
  bench.socket.hear(reset(at(1, '0000000000000001'), { reason: 'epoch', members: [], count: 1 }));
  assert.deepEqual(bench.said(), ['ping 4', 'update 5']);
  const shown = calls.filter((what) => what.type === 'shown').map(({ anew, lossy }) => [anew, lossy]);
  assert.deepEqual(shown, [[false, false], [true, true], [false, false]]);
});

test('over a restart every reliable move goes out once, or is told to be lost', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const lost: unknown[] = [];
  room.on('lost', ({ moves }) => lost.push(...moves.map(({ data }) => data)));
  room.sendReliable(1);
  await bench.env.turn(1000);
  const proof = bench.socket.take().find(({ type }) => type === 'ping');
  bench.socket.hear({ type: 'pong', t: proof?.['t'], received: 1, sent: 1 });
  room.sendReliable(2);
  bench.said();
  bench.socket.lose(1006);
  for (const n of [3, 4]) room.sendReliable(n);
  room.sendReliable('for both', { to: [OTHER, THIRD] });
  room.sendReliable('for who is gone', { to: [OTHER] });
  await bench.next();
  await bench.open(connected({ session: 'another' }));
  assert.deepEqual(lost, [2]);
  room.sendReliable(5);
  assert.ok(!bench.said().some((what) => what.startsWith('move')), 'there is no room yet');
  const epoch = '0000000000000001';
  bench.socket.hear(joined(null, 1, { handle: 9, position: at(1, epoch), members: [entry(THIRD, 12)] }));
  bench.socket.hear(reset(at(1, epoch), { reason: 'epoch', members: [entry(THIRD, 12)] }));
  const moves = bench.socket.take().filter(({ type }) => type === 'move');
  assert.deepEqual(moves.map(({ data, to }) => [data, to]), [[3, undefined], [4, undefined], ['for both', [12]], [5, undefined]]);
  assert.deepEqual(lost, [2, 'for who is gone']);
  // Lost again before any of them is proved: the same, and no more of what was told already.
  await bench.again(connected({ session: 'a third' }));
  bench.socket.hear(joined(null, 1));
  assert.deepEqual(lost, [2, 'for who is gone', 3, 4, 'for both', 5]);
  assert.ok(!bench.said().some((what) => what.startsWith('move')));
});

test('what waits for a room that we are out of is told before the room ends', async () => {
  for (const end of ['refused', 'closed', 'kicked', 'left'] as const) {
    const bench = new Bench();
    const room = await bench.inRoom();
    const told: string[] = [];
    room.on('lost', ({ moves, reason }) => told.push(`${moves.length} ${reason}`));
    room.on('left', ({ reason }) => told.push(reason));
    if (end === 'kicked') {
      room.sendReliable(1);
      bench.socket.hear({ type: 'peer-left', room: 'a', time: 1, position: at(11), peer: { peer: ME, user: 'user-1' }, reason: end });
    } else {
      bench.socket.lose(1006);
      room.sendReliable(1);
      room.send(2);
      if (end === 'closed') bench.client.close();
      else {
        const leaving = end === 'left' ? room.leave() : undefined;
        const coming = end === 'left' ? bench.client.join('a') : undefined;
        await bench.next();
        await bench.open(connected({ session: 'another' }));
        const asked = bench.socket.take();
        const idOf = (what: string) => Number(asked.find(({ type }) => type === what)?.['id']);
        if (leaving) bench.socket.hear({ type: 'error', re: idOf('leave'), code: 803, name: '', message: '' });
        else bench.socket.hear({ type: 'error', re: null, code: 705, name: '', message: 'no', room: 'a', count: 1 });
        await leaving;
        if (coming) bench.socket.hear(joined(idOf('join'), 12));
        // The room that is joined anew has lost nothing.
        (await coming)?.on('lost', ({ reason }) => told.push(`anew: ${reason}`));
        await bench.env.turn(0);
      }
    }
    const lost = { refused: ['1 out of the room'], kicked: ['1 out of the room'], closed: ['1 Closed.'], left: [] }[end];
    assert.deepEqual(told, [...lost, end]);
    assert.deepEqual([room.send(3), room.sendReliable(3)], [false, false]);
  }
});

test('a session that is gone: all rooms are joined again, from where they stood, as somebody new', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  const said = room.say('one');
  bench.said();
  bench.socket.lose(1006);
  const later = room.say('two');
  await bench.next();
  // The resume is refused: 4200 means to come as somebody new, at once.
  bench.socket.open();
  assert.equal(bench.socket.take()[0]?.['type'], 'resume');
  bench.socket.lose(4200);
  await bench.next();
  const hello = await bench.open(connected({ peer: THIRD, session: 'new', resume: 'token-9' }));
  assert.deepEqual(hello, { type: 'auth', token: 'token', notifications_since: at(100) });
  await assert.rejects(said, LostError);
  assert.deepEqual(bench.socket.take().map(({ type, since }) => [type, since]), [['join', at(10)], ['message', undefined]]);
  bench.socket.hear(joined(3, 13, {
    you: entry(THIRD, 5), members: [entry(OTHER, 2)],
    missed: [chat(11), { type: 'peer-left', room: 'a', time: 1, position: at(12), peer: { peer: ME, user: 'user-1' }, reason: 'lost' }],
  }));
  bench.socket.hear({ type: 'ok', re: 4, position: at(14) });
  assert.equal(await later, at(14));
  assert.deepEqual(heard, ['message 11 missed', 'peer-left 12 missed', 'shown missed']);
  assert.deepEqual([room.you.peer, room.isLeft, bench.client.rooms.get('a')], [THIRD, false, room]);
});

test('a room that a resume does not show is out, also if its join is refused', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const left: RoomEvents['left'][] = [];
  room.on('left', (why) => left.push(why));
  await bench.again(RESUMED);
  // A move that came after its sender had left puts nobody out.
  bench.socket.hear({ type: 'error', re: null, code: 803, name: '', message: '', room: 'a', count: 1 });
  assert.equal(left.length, 0);
  bench.socket.hear({ type: 'pong', re: 2, received: 1, sent: 1 });
  assert.deepEqual([left[0]?.reason, bench.client.rooms.size, room.isLeft], ['refused', 0, true]);
  await assert.rejects(room.say('x'), (error) => error instanceof RequestError && error.code === 803);

  const told = new Bench();
  const second = await told.inRoom();
  await told.again(connected({ session: 'another' }));
  told.socket.hear({ type: 'error', re: null, code: 705, name: '', message: 'no', room: 'a', count: 1 });
  assert.ok(second.isLeft);

  const rejoined = new Bench();
  const third = await rejoined.inRoom();
  third.on('left', (why) => left.push(why));
  await rejoined.again(connected({ session: 'new' }), 4201);
  rejoined.socket.hear({ type: 'error', re: 2, code: 705, name: '', message: 'no' });
  assert.deepEqual([left[1]?.code, left[1]?.message], [705, 'no']);
});

const refusal = (re: number | null, code: number, more: Record<string, unknown> = {}) =>
  ({ type: 'error', re, code, name: '', message: `refused with ${code}`, ...more });

test('a room whose refusal may pass is asked for again, later each time and not before the server said', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const waits: RoomEvents['waiting'][] = [];
  room.on('waiting', (why) => waits.push(why));
  const heard = hear(room);
  await bench.again(connected({ session: 'new', peer: THIRD }), 4201);
  assert.deepEqual(bench.said(), ['join 2']);
  let re = 2;
  // Half of half a second, of one, of two, …, behind what the server asked for.
  for (const [code, told, wait] of [[901, 0, 250], [802, 4000, 4500], [903, 0, 1000], [904, 0, 2000], [905, 0, 4000], [999, 0, 8000]] as const) {
    bench.socket.hear(refusal(re, code, told ? { retry_after: told } : {}));
    assert.deepEqual(room.waiting, { code, message: `refused with ${code}`, retryAt: bench.env.time + wait });
    await bench.pass(wait - 1);
    assert.ok(!bench.said().some((what) => what.startsWith('join')), `${code}: too early`);
    await bench.env.turn(1);
    assert.deepEqual(bench.said().filter((what) => what.startsWith('join')), [`join ${re += 1}`]);
  }
  assert.deepEqual([room.isLeft, bench.client.rooms.get('a'), waits.length, heard], [false, room, 6, []]);
  bench.socket.hear(joined(re, 13, { you: entry(THIRD, 5), missed: [chat(11), chat(12), chat(13)] }));
  assert.deepEqual(heard, ['message 11 missed', 'message 12 missed', 'message 13 missed', 'shown missed']);
  assert.deepEqual([room.waiting, room.you.peer], [undefined, THIRD]);
  await bench.pass(100_000);
  assert.ok(!bench.said().some((what) => what.startsWith('join')));
  // The next time the waits begin anew.
  await bench.again(connected({ session: 'newer', peer: OTHER }), 4201);
  bench.socket.hear(refusal(re + 1, 901, { retry_after: 60_000 }));
  assert.equal(waits.at(-1)?.retryAt, bench.env.time + 60_250);
  // What the server asked for holds for a session that follows, too.
  bench.said();
  await bench.again(connected({ session: 'newest' }), 4201);
  assert.deepEqual(bench.said(), []);
  await bench.pass(60_250);
  assert.ok(bench.said().some((what) => what.startsWith('join')));
});

test('a refusal that does not pass ends the waiting, and so does leaving', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  await bench.again(connected({ session: 'new', peer: THIRD }), 4201);
  bench.socket.hear(refusal(2, 901));
  await bench.env.turn(250);
  bench.socket.hear(refusal(3, 705));
  assert.deepEqual([room.isLeft, room.waiting, bench.client.rooms.size], [true, undefined, 0]);

  for (const isAsked of [false, true]) {
    const other = new Bench();
    const second = await other.inRoom();
    await other.again(connected({ session: 'new', peer: THIRD }), 4201);
    other.socket.hear(refusal(2, 901));
    if (isAsked) await other.env.turn(250);
    other.said();
    const leaving = second.leave();
    const coming = other.client.join('a');
    let id = isAsked ? 4 : 3;
    assert.deepEqual(other.said(), [`leave ${id}`, `join ${id + 1}`]);
    await other.env.turn(600);
    assert.deepEqual(other.said(), [], 'not asked for any more');
    // Let in after all, in the last moment: it is not that room any more.
    if (isAsked) other.socket.hear(joined(3, 12));
    other.socket.hear(isAsked ? { type: 'ok', re: id } : refusal(id, 803));
    await leaving;
    other.socket.hear(joined(id += 1, 14));
    const third = await coming;
    const heard = hear(third);
    await other.pass(10_000);
    assert.deepEqual([second.isLeft, heard, third.position], [true, ['shown'], at(14)]);
    assert.ok(!other.said().some((what) => what.startsWith('join')));
  }
});

test('a room that a restarted server refuses for now is waited for over the next loss, and told our state again', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const updated = room.update({ ready: true });
  bench.socket.hear({ type: 'ok', re: 2 });
  await updated;
  room.sendReliable('was written');
  bench.socket.lose(1006);
  room.sendReliable('waits');
  const lost: RoomEvents['lost'][] = [];
  room.on('lost', (what) => lost.push(what));
  await bench.next();
  await bench.open(connected({ session: 'another' }));
  room.send(1);
  bench.socket.hear(refusal(null, 904, { room: 'a', count: 1, retry_after: 60_000 }));
  bench.socket.hear({ type: 'pong', re: 3, received: 1, sent: 1 });
  assert.deepEqual([room.isLeft, room.waiting?.code, room.waiting?.retryAt], [false, 904, bench.env.time + 60_250]);
  for (let i = 1; i < 256; i += 1) room.sendReliable(i);
  assert.throws(() => room.sendReliable(256), QueueFullError);
  // It fills no queue but its own.
  const other = bench.client.join('b');
  bench.socket.hear(joined(4, 5, { room: 'b', handle: 8 }));
  (await other).sendReliable('elsewhere');
  (await other).say('words').catch(() => {});
  assert.deepEqual(bench.said().slice(-2), ['move 1', 'message 5 words']);
  await bench.again(connected({ session: 'another', resumed: true }));
  bench.socket.hear({ type: 'pong', re: 6, received: 1, sent: 1 });
  assert.equal(room.isLeft, false, 'that the resume does not show it is no news');
  bench.said();
  await bench.pass(60_250);
  const join = bench.said().find((what) => what.startsWith('join'));
  assert.equal(join, 'join 7');
  room.send(2);
  bench.socket.hear(joined(7, 20));
  bench.socket.hear(reset(at(20)));
  await bench.pass(5000);
  const sent = bench.socket.take();
  assert.ok(sent.some(({ type, id }) => type === 'update' && id === 8));
  const moves = sent.filter(({ type, room: name }) => type === 'move' && name === 'a').map(({ data }) => data);
  assert.deepEqual(moves, ['waits', ...Array.from({ length: 255 }, (_, i) => i + 1), 2]);
  assert.deepEqual(lost.map(({ moves: gone }) => gone.map(({ data }) => data)), [['was written']]);
});

test('a kick is the end of the room, not of the session', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  bench.socket.hear({ type: 'peer-left', room: 'a', time: 1, position: at(11), peer: { peer: ME, user: 'user-1' }, reason: 'kicked' });
  assert.deepEqual([heard, bench.client.rooms.size, bench.client.status.state], [['left'], 0, 'connected']);
  const hello = await bench.again(RESUMED);
  assert.deepEqual(hello?.['positions'], {});
  assert.deepEqual(bench.said(), []);
});

test('a room that is left is not entered again, whatever became of the session meanwhile', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const leaving = room.leave();
  assert.equal(bench.client.rooms.size, 0);
  bench.said();
  const hello = await bench.again(RESUMED);
  assert.deepEqual(hello?.['positions'], {});
  bench.socket.hear(joined(null, 12));
  assert.deepEqual(bench.said(), ['leave 2', 'ping 3']);
  bench.socket.hear({ type: 'ok', re: 2 });
  await leaving;
  bench.socket.hear({ type: 'pong', re: 3, received: 1, sent: 1 });
  assert.ok(room.isLeft);
  const second = bench.client.join('a');
  bench.socket.hear(joined(4, 12));
  assert.notEqual(await second, room);
  // The session is lost under a leave: then there is nothing left to leave.
  const gone = (await second).leave();
  await bench.again(connected({ session: 'another', peer: THIRD }), 4200);
  await gone;
  assert.deepEqual(bench.said(), []);
});

test('a room that is left and joined at once is another, whatever is shown in between', async () => {
  const bench = new Bench();
  const first = await bench.inRoom();
  void first.leave();
  const coming = bench.client.join('a');
  bench.said();
  await bench.again(RESUMED);
  bench.socket.hear(joined(null, 12));
  bench.socket.hear(chat(13));
  assert.equal(bench.client.rooms.size, 0, 'that was the one that is being left');
  bench.socket.hear({ type: 'ok', re: 2 });
  bench.socket.hear(joined(3, 15));
  const second = await coming;
  assert.notEqual(second, first);
  const heard = hear(second);
  await bench.env.turn(0);
  assert.deepEqual([heard, first.isLeft, second.position], [['shown'], true, at(15)]);
});

test('a room that is left while away is not joined again', async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  bench.said();
  bench.socket.lose(4201);
  const leaving = room.leave();
  await bench.next();
  await bench.open(connected({ session: 'new', peer: THIRD }));
  assert.deepEqual(bench.said(), ['leave 2']);
  bench.socket.hear({ type: 'error', re: 2, code: 803, name: '', message: '' });
  await leaving;
});

test("the client's own join is repeated, and a room that a resume brought before its answer comes once", async () => {
  const bench = new Bench();
  const room = await bench.inRoom();
  const heard = hear(room);
  await bench.again(connected({ session: 'new', peer: THIRD, resume: 'token-8' }), 4201);
  assert.deepEqual(bench.said(), ['join 2']);
  await bench.again(connected({ session: 'new', peer: THIRD, resumed: true }));
  assert.deepEqual(bench.said(), ['join 2', 'ping 3']);
  const you = entry(THIRD, 5);
  bench.socket.hear(joined(null, 12, { you, missed: [chat(11), chat(12)] }));
  bench.socket.hear(chat(13));
  bench.socket.hear(joined(2, 13, { you, missed: [chat(11), chat(12), chat(13)] }));
  bench.socket.hear({ type: 'pong', re: 3, received: 1, sent: 1 });
  assert.deepEqual(heard, ['message 11 missed', 'message 12 missed', 'shown missed', 'message 13']);
  assert.equal(room.isLeft, false);
});
