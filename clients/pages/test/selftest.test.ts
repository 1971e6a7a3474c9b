/** The self-test's verdicts, its report without secrets, and where it tries things. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groundOf } from '../src/selftest/ground.js';
import { clockOf, judgeClock, judgePoll, judgeSocket, judgeStream } from '../src/selftest/live.js';
import type { RelayMeasured, SocketMeasured, StreamMeasured } from '../src/selftest/measured.js';
import { judgeIce, judgeRelay } from '../src/selftest/relays.js';
import { bare, redacted, report, summary, worst } from '../src/selftest/report.js';
import { bad, good, judgeHttp, judgeOrigin, refused, spread, warning } from '../src/selftest/verdicts.js';

const samples = (...trips: number[]) => trips.map((trip) => ({ trip, offset: 0 }));
const socket: SocketMeasured = {
  openMs: 5, protocol: 'rallypoint.v1.json', greetedMs: 3, samples: samples(10, 11, 12, 13),
};
/** What a page is told that the server does not list. */
const foreign = { code: 704, status: 403, text: 'no.' };
const stream: StreamMeasured = { headMs: 5, firstMs: 8, delays: [1, 2, 3], missing: 0 };

test('a WebSocket: every way in which it fails has its own words', () => {
  const { level, text, facts } = judgeSocket(socket, true);
  assert.deepEqual([level, text], ['good', 'The WebSocket works, with round trips of 11 ms.']);
  assert.deepEqual(facts.find(([name]) => name === 'Round trip, p50'), ['Round trip, p50', '11 ms']);
  const cases: [Partial<SocketMeasured>, string, RegExp][] = [
    [{ late: 'open' }, 'bad', /nobody answers its handshake/],
    [{ closed: { code: 1006, reason: '' } }, 'bad', /refused before it is open/],
    [{ openMs: 5, protocol: '' }, 'bad', /without a subprotocol/],
    [{ ...socket, samples: [], late: 'greeting' }, 'bad', /nothing more comes through/],
    [{ ...socket, samples: samples(5), late: 'pong' }, 'bad', /nothing more comes through/],
    [{ ...socket, problem: { code: 701, status: 0, text: 'bad' } }, 'bad', /does not accept the token \(701\)/],
    [{ ...socket, problem: { code: 903, status: 0, text: 'too many' } }, 'warning', /too much at once: too many \(903\)/],
    [{ ...socket, samples: samples(300, 301, 302) }, 'warning', /far away/],
    [{ ...socket, samples: samples(10, 10, 10, 141) }, 'warning', /uneven: most round trips take 10 ms, one took 141 ms/],
    [{ ...socket, samples: samples(10, 10, 10, 140) }, 'good', /works/],
    [{ ...socket, samples: samples(300, 300, 300) }, 'good', /works/],
  ];
  for (const [measured, expected, words] of cases) {
    const verdict = judgeSocket({ samples: [], ...measured }, true);
    assert.equal(verdict.level, expected, verdict.text);
    assert.match(verdict.text, words);
    assert.equal(verdict.todo !== undefined, expected !== 'good', 'what is not good says what to do');
  }
  assert.equal(judgeSocket({ ...socket, samples: [] }, false).level, 'warning');
});

test('a stream: what is held back is called buffering', () => {
  assert.deepEqual([judgeStream(stream).level, judgeStream({ ...stream, delays: [] }).level], ['good', 'good']);
  assert.match(judgeStream({ ...stream, delays: [] }).text, /lets us publish nowhere/);
  const cases: [Partial<StreamMeasured>, string, RegExp][] = [
    [{ delays: [], missing: 0 }, 'bad', /waits for an end that never comes/],
    [{ headMs: 3 }, 'bad', /its first event does not come: a proxy on the way buffers/],
    [{ ...stream, delays: [], missing: 8 }, 'bad', /none of those after it/],
    [{ ...stream, missing: 1 }, 'bad', /Some events do not come: a proxy/],
    [{ ...stream, delays: [900, 1_001, 4_000] }, 'bad', /up to 4000 ms late: a proxy on the way buffers/],
    [{ ...stream, delays: [900, 1_000, 4_000] }, 'warning', /some of them 4000 ms late/],
    [{ ...stream, delays: [1, 2, 251] }, 'warning', /some of them 251 ms late/],
    [{ ...stream, delays: [1, 2, 250] }, 'good', /Nothing on the way buffers/],
    [{ ...stream, encoding: 'gzip' }, 'warning', /compresses the stream \(gzip\)/],
    [{ ...stream, delays: [], unpublished: foreign }, 'warning', /comes through.*since we may not publish: no \(704\)\./],
    [{ ...stream, delays: [], missing: 1, unpublished: foreign }, 'bad', /none of those after it/],
    [{ headMs: 3, problem: { code: 705, status: 403, text: 'no.' } }, 'warning', /could not be tried: no \(705\)\./],
    [{ headMs: 3, problem: { status: 502, text: 'Bad Gateway' } }, 'bad', /Not the server.*Bad Gateway \(502\)/],
    [{ problem: { status: 0, text: 'Failed to fetch' } }, 'bad', /Nobody answers: Failed to fetch \(no answer\)/],
  ];
  for (const [measured, level, words] of cases) {
    const verdict = judgeStream({ delays: [], missing: 0, ...measured });
    assert.equal(verdict.level, level, verdict.text);
    assert.match(verdict.text, words);
  }
  const { facts } = judgeStream({ ...stream, missing: 1 });
  assert.deepEqual(facts.at(-1), ['Events', '3 of 4']);
});

test('a poll is to be held, and to be answered', () => {
  assert.equal(judgePoll({ firstMs: 3, heldMs: 1_000, answerMs: 4 }).level, 'good');
  assert.match(judgePoll({ firstMs: 3 }).text, /lets us publish nowhere/);
  const mute = judgePoll({ firstMs: 3, heldMs: 1_000, unpublished: foreign });
  assert.deepEqual([mute.level, mute.todo], ['warning', 'See “Origin” for what to configure.']);
  assert.match(mute.text, /is held.*since we may not publish: no \(704\)\./);
  assert.match(judgePoll({ firstMs: 3, heldMs: 200, isEarly: true }).text, /before there is anything to tell/);
  assert.match(judgePoll({ firstMs: 3, heldMs: 1_000 }).text, /not answered when something happens/);
  assert.deepEqual(
    [judgePoll({ heldMs: 1_000, answerMs: 1_001 }).level, judgePoll({ heldMs: 1_000, answerMs: 1_000 }).level],
    ['warning', 'good'],
  );
});

test('clocks are compared by the truest sample, and with its doubt', () => {
  assert.equal(clockOf([]), undefined);
  assert.deepEqual(clockOf([{ trip: 9, offset: 1 }, { trip: 2, offset: 7 }, { trip: 5, offset: 3 }])?.offset, 7);
  assert.equal(judgeClock([]).level, 'warning');
  const level = (offset: number, trip: number) => judgeClock([{ offset, trip }]).level;
  assert.deepEqual([level(30_000, 0), level(30_011, 20), level(-30_011, 20)], ['good', 'warning', 'warning']);
  assert.match(judgeClock([{ offset: 30_005, trip: 20 }]).text, /cannot be compared well/);
  assert.match(judgeClock([{ offset: -95_000, trip: 20 }]).text, /95 s ahead of the server/);
  assert.match(judgeClock([{ offset: 95_000, trip: 20 }]).text, /95 s behind the server/);
  assert.match(judgeClock([{ offset: 20_000, trip: 20 }]).text, /20 s behind.*tokens allow for that/);
  assert.equal(judgeClock([{ offset: 1_500, trip: 2_000 }]).text, 'The clocks agree.', 'as far as that can be known');
});

test('relays: 401 is about secrets, 701 about reaching them', () => {
  const relay: RelayMeasured = { url: 'turn:a', errors: [], isDone: true };
  const stun: RelayMeasured = { url: 'stun:a', errors: [], isDone: true };
  const found = { type: 'relay', ms: 40 };
  const unreached = { code: 701, text: 'TURN host lookup received error.' };
  const refusal = { code: 401, text: 'Unauthorized.' };
  assert.deepEqual(judgeRelay({ ...relay, found, errors: [unreached] }), { isGood: true, text: 'relay after 40 ms' });
  assert.equal(judgeRelay({ ...relay, errors: [unreached, refusal] }).text, 'refuses our credentials (401, Unauthorized)');
  assert.match(judgeRelay({ ...relay, errors: [unreached] }).text, /^not reached \(701, TURN host/);
  assert.equal(judgeRelay({ ...relay, errors: [{ code: 486, text: '' }] }).text, 'an error (486)');
  assert.deepEqual([judgeRelay(relay).isGood, judgeRelay(stun).isGood], [false, true]);
  assert.deepEqual([judgeRelay({ ...stun, isDone: false }).text], ['no answer']);

  const judged = (...relays: RelayMeasured[]) => judgeIce({ relays });
  const [works, fails] = [{ ...relay, found }, { ...relay, url: 'turns:b', errors: [refusal] }];
  assert.match(judged(works, { ...works, found: { ...found, ms: 20 } }).text, /reached, after 20 ms/);
  assert.deepEqual([judged(works).level, judged(works, fails).level, judged(fails).level], ['good', 'warning', 'bad']);
  assert.match(judged(fails).text, /does not relay for us: refuses our credentials \(401, Unauthorized\)\./);
  assert.match(judged(fails).todo ?? '', /static-auth-secret/);
  assert.match(judged(fails, { ...relay, errors: [unreached] }).todo ?? '', /static-auth-secret.*every firewall/);
  assert.match(judged().text, /names no STUN or TURN server/);
  assert.match(judged(stun).text, /there is no TURN server/);
  assert.equal(judgeIce({ relays: [], isMissing: true }).level, 'bad');
  assert.equal(judgeIce({ relays: [], problem: { code: 705, status: 403, text: 'no' } }).level, 'warning');
});

test('what stands between is named, and an origin that is not listed is given as configuration', () => {
  const http = { trips: [3, 1, 2], protocol: 'http/1.1', signs: [] };
  assert.deepEqual(judgeHttp(http).facts, [['Answer', '2 ms'], ['HTTP', 'http/1.1'], ['On the way', 'no sign of a proxy']]);
  assert.match(judgeHttp(http).text, /six streams/);
  const behind = judgeHttp({ ...http, protocol: 'h2', signs: ['via: 1.1 varnish', 'server: nginx'] });
  assert.match(behind.text, /^The server answers, through a proxy\.$/);
  assert.deepEqual(behind.facts.at(-1), ['On the way', 'via: 1.1 varnish, server: nginx']);

  const origin = 'https://play.example';
  const asked = (code: number) => judgeOrigin({ origin, problem: { code, status: 403, text: 'x' } });
  assert.equal(judgeOrigin({ origin }).level, 'good');
  assert.deepEqual([asked(704).level, asked(704).snippet], ['bad', 'origins = ["https://play.example"]']);
  assert.deepEqual([asked(700).level, asked(705).level], ['good', 'good'], 'that is looked at afterwards');
  assert.equal(judgeOrigin({ origin, problem: { status: 0, text: 'x' } }).level, 'bad');
  assert.equal(refused({ code: 999, status: 500, text: 'x' }).level, 'bad');
});

test('a room of our own is found in the token, and nobody is disturbed', () => {
  const ground = (...rooms: unknown[]) => groundOf({ rooms }, 'x1');
  const all = ['watch', 'publish', 'chat'];
  assert.deepEqual(ground({ r: 'selftest/*', do: all }), { room: 'selftest/selftest-x1', kind: 'selftest' });
  assert.deepEqual(ground({ r: '*', do: all }), { room: 'selftest/x1', kind: 'selftest' });
  assert.deepEqual(ground({ r: 'match/*', do: ['watch', 'chat'] }), { room: 'match/selftest-x1', kind: 'message' });
  assert.deepEqual(ground({ r: 'match/7', do: all }), { room: 'match/7' }, 'somebody else is there');
  const best = ground({ r: 'a', do: all }, { r: 'b/*', do: ['watch', 'chat'] }, { r: 'c/*', do: all }, { r: 'd/*', do: ['publish'] });
  assert.deepEqual(best, { room: 'c/selftest-x1', kind: 'selftest' });
  for (const claims of [{}, { rooms: 'x' }, { rooms: [null, 7, { r: 1, do: [] }, { r: '*' }, { r: '*', do: ['join'] }] }]) {
    assert.equal(groundOf(claims, 'x1'), undefined);
  }
});

test('the report tells all and keeps secrets', () => {
  const token = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl_-x';
  const results = [
    { title: 'WebSocket', verdict: good('It works.', [['Open after', '5 ms']]) },
    { title: 'Event stream', verdict: warning(`It says ${token} ${'word '.repeat(30)}end.`, 'Mend it.') },
    { title: 'Long poll', verdict: bad('It does not.', `See https://a.example/x?token=${token}&credential=abc`) },
  ];
  assert.equal(worst(results), 'bad');
  assert.deepEqual([worst(results.slice(0, 2)), worst(results.slice(0, 1)), worst([])], ['warning', 'good', 'good']);
  assert.equal(summary(results), 'Not working: Long poll. To look at: Event stream.');
  assert.equal(summary(results.slice(0, 1)), 'Everything gets through from here.');
  const page = `https://play.example/game/selftest?token=${token}#token=${token}`;
  const around = { version: '0.1.0', at: new Date(0), page, browser: 'B/1', isSecure: false, token: 'from the address' };
  const text = report(results, around);
  assert.match(text, /^rallypoint 0\.1\.0, self-test of 1970-01-01T00:00:00\.000Z\npage {5}https:\/\/play\.example\/game\/selftest \(not a secure/);
  assert.match(text, /\n\[good\] WebSocket\n {2}It works\.\n {4}Open after: 5 ms\n/);
  assert.match(text, /\n\[BAD\] Long poll\n[^]*To do: See https:\/\/a\.example\/x\?token=\[redacted\]&credential=\[redacted\]\n/);
  assert.match(text, /It says \[token\] word/);
  for (const part of token.split('.')) assert.ok(!text.includes(part), part);
  assert.ok(text.split('\n').every((line) => line.length <= 88 || line.startsWith('page')), text);
  assert.equal(redacted('nothing to hide'), 'nothing to hide');
  assert.equal(bare('http://a.example:3000/selftest?x=1#token=y'), 'http://a.example:3000/selftest');
});

test('the middle one and the greatest', () => {
  assert.deepEqual([spread([]), spread([3]), spread([4, 1, 9, 2])], [undefined, { p50: 3, most: 3 }, { p50: 2, most: 9 }]);
});
