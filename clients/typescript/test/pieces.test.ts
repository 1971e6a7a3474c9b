/** The small pieces of a connection: pace, counted messages, clock, token, requests, moves. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock } from '../src/clock.js';
import { LostError, RequestError, type RallypointError } from '../src/errors.js';
import { Access } from '../src/socket/access.js';
import { json } from '../src/socket/codec.js';
import { Counted } from '../src/socket/counted.js';
import { Moves } from '../src/socket/moves.js';
import { Pace } from '../src/socket/pace.js';
import { Requests, UNANSWERED_MOST, type Asker } from '../src/socket/requests.js';
import type { ServerMessage } from '../src/wire.js';

const free = (): Pace => {
  const pace = new Pace();
  pace.begin(1e6, 1e6, 0);
  return pace;
};
const claims = (exp: number): string => `h.${btoa(JSON.stringify({ sub: 'ada', exp }))}.s`;

test('a pace lets a burst through, and then its rate', () => {
  const pace = new Pace();
  pace.begin(10, 5, 0);
  let sent = 0;
  for (let now = 0; now < 10_000; now += 1) {
    if (pace.at(now) > now) continue;
    pace.take(now);
    sent += 1;
    if (sent <= 5) now -= 1;
  }
  assert.ok(sent >= 5 + 94 && sent <= 5 + 95, String(sent));
  // A sign of life that goes in any case is paid for later.
  pace.begin(10, 1, 0);
  pace.take(0);
  pace.take(0);
  assert.ok(pace.at(0) > 200);
  // Nothing is saved up beyond the burst.
  assert.equal(pace.at(1e9), 1e9);
  pace.take(1e9);
  assert.ok(pace.at(1e9) > 1e9);
});

test('an ack is due by number, by size and by time, the first at random, and never without news', () => {
  const add = (counted: Counted, times: number, size = 1, now = 0) => {
    for (let i = 0; i < times; i += 1) counted.add(size, now);
  };
  const counted = new Counted(0.25);
  assert.equal(counted.ack(1e9), undefined);
  add(counted, 32);
  assert.equal(counted.ack(0), undefined);
  add(counted, 1);
  assert.equal(counted.ack(0), 33);
  add(counted, 127);
  assert.equal(counted.ack(0), undefined);
  add(counted, 1);
  assert.equal(counted.ack(0), 161);
  add(counted, 1, 65_535);
  assert.equal(counted.ack(0), undefined);
  add(counted, 1);
  assert.equal(counted.ack(0), 163);
  add(counted, 1, 1, 1000);
  add(counted, 1, 1, 4000);
  assert.equal(counted.ackBy, 6000);
  assert.equal(counted.ack(5999), undefined);
  assert.equal(counted.ack(6000), 165);
  add(counted, 1, 1, 7000);
  counted.told();
  assert.equal(counted.ackBy, Infinity);
  assert.equal(new Counted(0.999).ack(0), undefined);
});

test('the clock goes by the sample with the shortest way, of the last eight', () => {
  const clock = new Clock();
  clock.begin(5000, 1000);
  assert.equal(clock.offset, 4000);
  assert.equal(clock.rtt, undefined);
  // 10 ms there, 30 ms back: wrong by 10. 2 ms both ways: right.
  clock.add(0, 4010, 4010, 40);
  assert.deepEqual([clock.rtt, clock.offset], [40, 3990]);
  clock.add(100, 4102, 4103, 105);
  assert.deepEqual([clock.rtt, clock.offset], [4, 4000]);
  clock.add(200, 4350, 4350, 400);
  assert.deepEqual([clock.rtt, clock.offset], [200, 4000]);
  for (let i = 0; i < 7; i += 1) clock.add(1000, 5060, 5060, 1100);
  assert.equal(clock.offset, 4010);
});

test('a token is renewed in time and never in a hurry, by the clock of the server', () => {
  const at = (seconds: number) => {
    const access = new Access(false);
    access.use(claims(100_000 + seconds), 0);
    access.opened(100_000_000, 0);
    return access;
  };
  for (const [left, due] of [[3600, 3540], [100, 90], [3, 5], [0, 5]] as const) {
    assert.equal(at(left).renewAt, due * 1000, String(left));
  }
  const access = at(100);
  assert.equal(access.good(99_999), access.token);
  assert.equal(access.good(100_000), undefined);
  access.pause(7000);
  assert.equal(access.renewAt, 12_000);
  const fixed = new Access(true);
  fixed.use(claims(100_000), 0);
  fixed.pause(0);
  assert.equal(fixed.renewAt, Infinity);
  const opaque = new Access(false);
  opaque.use('opaque', 0);
  assert.deepEqual([opaque.renewAt, opaque.good(1e12)], [Infinity, 'opaque']);
});

interface Asked {
  requests: Requests;
  answers: string[];
  ask(name: string, asker?: Asker): void;
  written(now?: number): string[];
  ok(re: number): void;
}

function asking(pace = free()): Asked {
  const requests = new Requests(json, pace);
  const answers: string[] = [];
  return {
    requests,
    answers,
    ask: (name, asker) => requests.ask(name, '{}', (answer: ServerMessage | RallypointError) => {
      answers.push(`${name} ${answer instanceof RequestError ? answer.code : answer instanceof Error ? answer.name : 'ok'}`);
    }, asker),
    written(now = 0) {
      const frames: string[] = [];
      for (let frame; (frame = requests.next(now, frames.length)) !== undefined;) {
        const { type, id } = JSON.parse(frame as string) as { type: string; id: number };
        frames.push(`${id} ${type}`);
      }
      return frames;
    },
    ok: (re) => void requests.answer(re, { type: 'ok', re }, 0),
  };
}

const refusal = (re: number, code: number): ServerMessage =>
  ({ type: 'error', re, code, name: '', message: '', retry_after: 500 });

test('never more requests are without an answer than the server keeps answers', () => {
  const { requests, ask, written, ok } = asking();
  for (let i = 0; i < 70; i += 1) ask('say');
  assert.equal(written().length, UNANSWERED_MOST);
  assert.equal(requests.waiting, 6);
  ok(1);
  ok(2);
  assert.deepEqual(written(), ['65 say', '66 say']);
  requests.lost();
  const again = written();
  assert.deepEqual([again.length, again[0], again.at(-1)], [64, '3 say', '66 say']);
});

test('after a loss the unanswered go out again with their ids, in order, before what waits', () => {
  const { requests, answers, ask, written, ok } = asking();
  ask('a');
  ask('b');
  written();
  ok(1);
  ask('c');
  requests.lost();
  // An answer to what this socket has not been asked is none.
  ok(2);
  assert.deepEqual(answers, ['a ok']);
  assert.deepEqual(written(), ['2 b', '3 c']);
  ok(2);
  ok(3);
  assert.deepEqual(answers, ['a ok', 'b ok', 'c ok']);
});

test('with the session the unanswered are lost, the waiting are not, and a join is asked for again', () => {
  const { requests, answers, ask, written } = asking();
  ask('say');
  ask('join');
  ask('refresh', 'own');
  written();
  ask('later');
  requests.lost();
  requests.fail();
  assert.deepEqual(answers.sort(), ['refresh LostError', 'say LostError']);
  assert.deepEqual(written(), ['4 join', '5 later']);
  requests.end(new LostError());
  assert.equal(answers.length, 4);
  assert.deepEqual(written(), []);
});

test("the client's own go first, and a look around is not repeated", () => {
  const { requests, ask, written } = asking();
  ask('say');
  ask('join', 'own');
  ask('ping', 'look');
  assert.deepEqual(written(), ['1 join', '2 ping', '3 say']);
  requests.lost();
  assert.deepEqual(written(), ['1 join', '3 say']);
});

test('what is refused for haste is tried again before all that waits behind it', () => {
  const { requests, answers, ask, written, ok } = asking();
  requests.most = 3;
  for (const name of ['a', 'b', 'c', 'd', 'e']) ask(name);
  assert.deepEqual(written(), ['1 a', '2 b', '3 c']);
  for (const re of [1, 2, 3]) requests.answer(re, refusal(re, 900), 1000);
  assert.deepEqual(written(1499), []);
  assert.equal(requests.due(1400), 1500);
  assert.deepEqual(written(1500), ['4 a', '5 b', '6 c']);
  requests.answer(4, refusal(4, 705), 1500);
  ok(5);
  assert.deepEqual(written(1500), ['7 d', '8 e']);
  assert.deepEqual(answers, ['a 705', 'b ok']);
});

test('requests keep the pace', () => {
  const pace = new Pace();
  pace.begin(10, 2, 0);
  const { ask, written, requests } = asking(pace);
  for (let i = 0; i < 5; i += 1) ask('say');
  assert.deepEqual(written(0), ['1 say', '2 say']);
  const at = requests.due(0);
  assert.ok(at > 100 && at < 110);
  assert.deepEqual(written(at), ['3 say']);
});

interface Moving {
  moves: Moves;
  push(what: string, seq: number, options?: { key?: number; to?: string[]; room?: string }): void;
  written(now?: number): string[];
  /** Who is in the rooms, by handle. */
  here: Map<string, number>;
  /** What was told to be lost. */
  lost: string[];
}

function moving(pace = free(), handle: (room: string) => number | undefined = () => 7): Moving {
  const here = new Map([['ada', 9], ['bob', 10]]);
  const lost: string[] = [];
  const moves = new Moves(json, pace, {
    handle,
    lost: (room, gone, reason) => lost.push(`${room} ${gone.map(({ data }) => data).join(' ')}: ${reason.slice(0, 21)}`),
  });
  return {
    moves,
    here,
    lost,
    push(what, seq, { key = 0, to, room = 'a' } = {}) {
      const handles = () => to?.flatMap((peer) => here.get(peer) ?? []) ?? [];
      moves.push({ room, key, reliable: what === 'shot', to: to && { peers: to, handles }, data: null }, String(seq), seq);
    },
    written(now = 0) {
      const frames: string[] = [];
      for (let frame; (frame = moves.next(now)) !== undefined;) {
        const { seq, reliable, to } = JSON.parse(frame as string) as { seq: number; reliable?: boolean; to?: number[] };
        frames.push([reliable ? 'shot' : 'spot', seq, ...(to ? [`to ${to.join(' ')}`] : [])].join(' '));
      }
      return frames;
    },
  };
}

test('of latest moves that wait only the newest of each room, key and receivers is sent; reliable ones all', () => {
  const { push, written } = moving();
  push('spot', 1);
  push('shot', 2);
  push('spot', 3, { key: 1 });
  push('spot', 4, { to: ['ada'] });
  push('spot', 5);
  push('shot', 6);
  assert.deepEqual(written(), ['shot 2', 'spot 3', 'spot 4 to 9', 'spot 5', 'shot 6']);
});

test('after a loss go those without a proof, in order, unless something newer took their place', () => {
  const { moves, push, written } = moving();
  for (const seq of [1, 2]) push('shot', seq);
  push('spot', 3);
  written();
  moves.proved(1);
  moves.lost();
  push('spot', 4);
  push('shot', 5);
  assert.deepEqual(written(), ['shot 2', 'spot 4', 'shot 5']);
  assert.equal(moves.reliable('a'), 2);
  // Newer, and still waiting at the loss.
  push('spot', 6);
  moves.lost();
  assert.deepEqual(written(), ['shot 2', 'shot 5', 'spot 6']);
  moves.proved(moves.written);
  moves.lost();
  assert.deepEqual(written(), []);
});

test('another session: what was written is not sent again but told, what was not goes out', () => {
  const { moves, push, written, lost } = moving();
  push('spot', 1, { key: 1 });
  push('shot', 2);
  push('shot', 3, { to: ['ada'], room: 'b' });
  push('spot', 4, { to: ['ada'] });
  push('shot', 5);
  written();
  push('shot', 6);
  push('spot', 7, { to: ['ada'] });
  push('spot', 8);
  moves.lost();
  for (const room of ['a', 'b']) moves.forget(room);
  assert.deepEqual(lost, ['a 2 5: the session was lost', 'b 3: the session was lost']);
  assert.deepEqual(written(), ['spot 1', 'shot 6', 'spot 7 to 9', 'spot 8']);
  moves.lost();
  moves.forget('b');
  assert.equal(lost.length, 2);
  moves.forget('a');
  assert.deepEqual([lost[2], written()], ['a 6: the session was lost', ['spot 1', 'spot 8']]);
});

test('who has come back is sent what waited under the new handle, and a move without any receiver is told', () => {
  const { push, written, here, lost } = moving();
  push('shot', 1, { to: ['ada', 'bob'] });
  push('shot', 2, { to: ['bob'] });
  push('spot', 3, { to: ['bob'] });
  push('shot', 4);
  here.set('ada', 20).delete('bob');
  assert.deepEqual(written(), ['shot 1 to 20', 'shot 4']);
  assert.deepEqual(lost, ['a 2: no receiver is left']);
});

test('a proof is asked for after many reliable moves, or a while after any', () => {
  const { moves, push, written } = moving();
  push('spot', 1);
  written(1000);
  assert.equal(moves.proveBy, 3000);
  for (let seq = 2; seq < 34; seq += 1) push('shot', seq);
  written(1500);
  assert.equal(moves.proveBy, 1500);
  moves.asked(1500);
  assert.equal(moves.proveBy, 3500);
  moves.proved(moves.written);
  assert.equal(moves.proveBy, Infinity);
});

test('moves keep the pace: latest ones are replaced meanwhile, and nothing overtakes a reliable one', () => {
  const pace = new Pace();
  pace.begin(10, 1, 0);
  const { moves, push, written } = moving(pace);
  push('spot', 1);
  push('spot', 2);
  assert.deepEqual(written(0), ['spot 2']);
  push('spot', 3);
  assert.ok(!moves.holds(0));
  push('shot', 4);
  push('spot', 5);
  assert.ok(moves.holds(0));
  assert.deepEqual(written(moves.due(0)), ['shot 4']);
  assert.ok(!moves.holds(200));
});

test('moves wait for their room, go with it, and are bounded', () => {
  const { moves, push, written, lost } = moving(free(), (room) => (room === 'a' ? 7 : undefined));
  push('shot', 1, { room: 'b' });
  push('shot', 1);
  assert.deepEqual(written(), ['shot 1']);
  assert.equal(moves.due(0), Infinity);
  moves.drop('b', 'left');
  assert.equal(moves.reliable('a'), 1);
  moves.drop('a', 'left');
  moves.asked(0);
  assert.deepEqual([moves.reliable('a'), moves.proveBy], [0, Infinity], 'there is nothing to prove');
  assert.deepEqual(lost, ['b 1: left', 'a 1: left']);
  for (let seq = 2; seq < 400; seq += 1) push('spot', seq, { key: seq });
  const all = written();
  assert.deepEqual([all.length, all[0]], [256, 'spot 144']);
});
