/** The connection as a value, on plain data. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeAction } from '../src/errors.js';
import { due, idle, step, type Effect, type Input, type Machine } from '../src/socket/machine.js';

/** A machine with the effects of its last step, and its own time. */
class Bench {
  machine: Machine;
  now = 10_000;
  effects: Effect[] = [];

  constructor(fixed = false) {
    this.machine = idle(fixed);
  }

  give(input: Input, random = 1): string[] {
    [this.machine, this.effects] = step(this.machine, input, this.now, random);
    return this.effects.map((effect) => (effect.do === 'ask' ? `ask ${effect.why}` : effect.do));
  }

  get at(): string {
    return this.machine.state.at;
  }

  get status() {
    const told = this.effects.find((effect) => effect.do === 'tell');
    assert.ok(told?.do === 'tell');
    return told.status;
  }

  /** How long the next attempt is waited for. */
  get wait(): number {
    assert.equal(this.machine.state.at, 'waiting');
    return due(this.machine) - this.now;
  }

  live(): this {
    if (this.at === 'idle') this.give({ is: 'start' });
    if (this.at === 'waiting') this.pass(this.wait);
    this.give({ is: 'token' });
    this.give({ is: 'opened' });
    this.give({ is: 'connected', heartbeat: 15_000 });
    assert.equal(this.at, 'live');
    return this;
  }

  pass(ms: number): string[] {
    this.now += ms;
    return this.give({ is: 'time' });
  }

  lose(code: number, told?: number, random = 1): this {
    this.give({ is: 'lost', code, reason: '', told }, random);
    return this;
  }
}

test('a connection is made step by step, and each step waits for the one before', () => {
  const bench = new Bench();
  assert.deepEqual(bench.give({ is: 'opened' }), []);
  assert.deepEqual(bench.give({ is: 'start' }), ['ask first', 'tell']);
  assert.deepEqual(bench.give({ is: 'start' }), []);
  assert.deepEqual(bench.give({ is: 'connected', heartbeat: 1 }), []);
  assert.deepEqual(bench.give({ is: 'token' }), ['open']);
  assert.deepEqual(bench.give({ is: 'token' }), []);
  assert.deepEqual(bench.give({ is: 'opened' }), ['authenticate']);
  assert.deepEqual(bench.give({ is: 'connected', heartbeat: 15_000 }), ['tell']);
  assert.deepEqual([bench.status.state, bench.status.transport, bench.at], ['connected', 'websocket', 'live']);
});

test('waits double from 500 ms to 30 s, and the jitter fills them', () => {
  for (const random of [0, 0.25, 1]) {
    const bench = new Bench();
    bench.give({ is: 'start' });
    const waits = [0, 1, 2, 3, 4, 5, 6, 7].map(() => {
      bench.give({ is: 'token' });
      bench.lose(1006, undefined, random);
      const { wait } = bench;
      assert.equal(bench.status.retryAt, bench.now + wait);
      assert.equal(bench.status.state, 'connecting');
      bench.pass(wait);
      return wait;
    });
    assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map((bound) => bound * random));
  }
});

test('a connection that held begins the row anew, one that did not goes on, but not for ever', () => {
  const bench = new Bench().live();
  assert.equal(bench.lose(1006).wait, 500);
  bench.live();
  bench.now += 4999;
  assert.equal(bench.lose(1006).wait, 1000);
  for (let i = 0; i < 6; i += 1) bench.live().lose(1006);
  assert.equal(bench.wait, 4000);
  bench.live();
  bench.now += 5000;
  assert.equal(bench.lose(1006).wait, 500);
});

test('what the server asks for is a floor, within reason, and news of the network does not go below it', () => {
  assert.equal(new Bench().live().lose(4000, 7000).wait, 7500);
  assert.equal(new Bench().live().lose(4300, 1e12).wait, 3_600_500);
  const told = new Bench().live().lose(4302, 7000);
  assert.deepEqual(told.give({ is: 'wake' }), []);
  assert.equal(told.wait, 7000);
  assert.equal(told.lose(1006).wait, 7000, 'nothing can be lost while nothing is there');
  assert.deepEqual(told.pass(6999), []);
  assert.deepEqual(told.pass(1), ['ask again', 'tell']);
});

test('every class of close codes is obeyed', () => {
  const after = (code: number, fixed = false) => {
    const bench = new Bench(fixed).live();
    const did = bench.give({ is: 'lost', code, reason: 'why' }, 1);
    return { did, bench };
  };
  for (const code of [1001, 1005, 1006, 1011, 3000, 4000, 4001, 4002, 4003, 4099, 4500, 4999]) {
    const { did, bench } = after(code);
    assert.equal(closeAction(code), 'resume');
    assert.deepEqual(did, ['drop', 'tell'], String(code));
    assert.deepEqual([bench.wait, bench.status.state, bench.status.action, bench.status.code], [500, 'reconnecting', 'resume', code]);
    assert.deepEqual(bench.pass(500), ['ask again', 'tell']);
  }
  for (const code of [4100, 4150, 4199]) {
    const { did, bench } = after(code);
    assert.deepEqual(did, ['drop', 'tell'], String(code));
    assert.equal(bench.status.action, 'refresh');
    assert.deepEqual(bench.pass(500), ['ask expired', 'tell']);
    const stopped = after(code, true).bench;
    assert.deepEqual([stopped.at, stopped.status.state, stopped.status.code], ['closed', 'closed', code]);
  }
  for (const code of [4200, 4201, 4299]) {
    const { did, bench } = after(code);
    assert.deepEqual(did, ['forget', 'drop', 'tell'], String(code));
    assert.deepEqual([bench.status.action, bench.wait], ['rejoin', 500]);
  }
  for (const code of [4300, 4301, 4302, 4303, 4399]) {
    const { did, bench } = after(code);
    assert.deepEqual(did, ['drop', 'tell'], String(code));
    assert.deepEqual([bench.status.action, bench.wait], ['wait', 2000]);
  }
  for (const code of [1000, 1002, 1007, 4400, 4401, 4403, 4409, 4410, 4413, 4499]) {
    const { did, bench } = after(code);
    assert.deepEqual(did, ['drop', 'tell'], String(code));
    assert.deepEqual([bench.at, bench.status.state, bench.status.code, bench.status.action], ['closed', 'closed', code, 'stop']);
    assert.match(bench.status.reason, /why/);
    for (const input of [{ is: 'start' }, { is: 'wake' }, { is: 'time' }] as const) assert.deepEqual(bench.give(input), []);
  }
});

test('a refused resume is the answer of a server that is there: nothing more is waited for', () => {
  const bench = new Bench().live();
  for (let i = 0; i < 5; i += 1) {
    bench.lose(1006);
    bench.pass(bench.wait);
    bench.give({ is: 'token' });
  }
  bench.give({ is: 'opened' });
  assert.equal(bench.lose(4200).wait, 500);
});

test('no token: asked again later, and not for ever at once', () => {
  const bench = new Bench();
  bench.give({ is: 'start' });
  assert.deepEqual(bench.give({ is: 'failed', reason: 'no network' }, 1), ['drop', 'tell']);
  assert.match(bench.status.reason, /no network/);
  bench.pass(500);
  // One that never comes.
  assert.deepEqual(bench.pass(14_999), []);
  assert.deepEqual(bench.pass(1), ['drop', 'tell']);
  assert.equal(bench.at, 'waiting');
  // A source that gives up ends it.
  bench.give({ is: 'wake' });
  bench.give({ is: 'stop', reason: 'sold out' });
  assert.deepEqual([bench.at, bench.status.reason], ['closed', 'sold out']);
});

test('an opening that hangs ends after 15 s', () => {
  for (const inputs of [[], [{ is: 'opened' }]] as Input[][]) {
    const bench = new Bench();
    bench.give({ is: 'start' });
    bench.give({ is: 'token' });
    for (const input of inputs) bench.give(input);
    assert.deepEqual(bench.pass(14_999), []);
    assert.deepEqual(bench.pass(1), ['drop', 'tell']);
    assert.equal(bench.status.code, 1006);
  }
});

test('pings go out every 5 s, and three heartbeats without an answer are a loss', () => {
  const bench = new Bench().live();
  assert.deepEqual(bench.pass(1000), ['ping']);
  for (let i = 0; i < 8; i += 1) assert.deepEqual(bench.pass(5000), ['ping']);
  assert.deepEqual(bench.pass(4999), []);
  assert.deepEqual(bench.pass(1), ['drop', 'tell'], '45 s after the first one that was not answered');
  // Anything that is heard counts.
  bench.live();
  for (let i = 0; i < 30; i += 1) {
    bench.pass(5000);
    bench.give({ is: 'heard' });
  }
  assert.equal(bench.at, 'live');
  // Nobody looks: less often.
  bench.now = due(bench.machine);
  bench.give({ is: 'time', hidden: true });
  assert.equal(due(bench.machine), bench.now + 20_000);
});

test('timers that come late say nothing about the server: it is probed', () => {
  const bench = new Bench().live();
  bench.pass(1000);
  assert.deepEqual(bench.pass(3_600_000), ['ping'], 'the device has slept');
  assert.deepEqual(bench.pass(4999), []);
  assert.deepEqual(bench.pass(1), ['drop', 'tell']);
  // Timers of a hidden page, once a minute: answered in between, and when not, not probed for ever.
  bench.live();
  for (let i = 0; i < 5; i += 1) {
    assert.deepEqual(bench.pass(60_000), ['ping']);
    bench.give({ is: 'heard' });
  }
  assert.deepEqual(bench.pass(60_000), ['ping']);
  assert.deepEqual(bench.pass(60_000), ['drop', 'tell']);
});

test('good news of the network ends a wait, and has a live connection probed', () => {
  const bench = new Bench().live();
  for (let i = 0; i < 8; i += 1) {
    bench.lose(1006);
    bench.pass(bench.wait);
    bench.give({ is: 'token' });
  }
  bench.lose(1006);
  assert.equal(bench.wait, 30_000);
  assert.deepEqual(bench.give({ is: 'wake' }), ['ask again', 'tell']);
  bench.give({ is: 'token' });
  assert.deepEqual(bench.give({ is: 'wake' }), [], 'an attempt is under way');
  bench.give({ is: 'opened' });
  bench.give({ is: 'connected', heartbeat: 15_000 });
  assert.deepEqual(bench.give({ is: 'wake' }), ['ping']);
  assert.deepEqual(bench.pass(4999), []);
  bench.give({ is: 'heard' });
  assert.deepEqual(bench.pass(1), ['ping'], 'it answered');
});

test('a close says goodbye wherever it finds the connection', () => {
  for (const bench of [new Bench(), new Bench().live(), new Bench().live().lose(1006)]) {
    bench.give({ is: 'stop', reason: 'Closed.' });
    assert.deepEqual(bench.effects.map((effect) => effect.do === 'drop' && effect.bye), [true, false]);
    assert.deepEqual([bench.status.state, bench.status.code], ['closed', 0]);
    assert.equal(due(bench.machine), Infinity);
  }
});

test('a socket that never opened may be refused by its origin; one that was there before is lost', () => {
  const bench = new Bench();
  bench.give({ is: 'start' });
  bench.give({ is: 'token' });
  assert.equal(bench.lose(1006).status.reason, 'The server cannot be reached, or refuses this page (`origins`). (1006)');
  bench.pass(bench.wait);
  bench.give({ is: 'token' });
  bench.give({ is: 'opened' });
  assert.equal(bench.lose(1006).status.reason, 'The connection is lost. (1006)');
  bench.live().lose(1006);
  bench.pass(bench.wait);
  bench.give({ is: 'token' });
  assert.equal(bench.lose(1006).status.reason, 'The connection is lost. (1006)');
});

test('a server that goes away is told as that, with its time', () => {
  const bench = new Bench().live();
  bench.give({ is: 'lost', code: 4000, reason: 'shutdown', told: 7000 });
  assert.deepEqual([bench.status.reason, bench.status.code], ['The server is going away.', 4000]);
  assert.equal(bench.status.retryAt, bench.now + 7500);
});
