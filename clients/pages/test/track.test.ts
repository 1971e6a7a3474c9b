/** Where a distant ship is drawn: between its states, a moment beyond them, and without jumps. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock } from '../src/arena/clock.js';
import { newShip, type Ship } from '../src/arena/ship.js';
import { Track } from '../src/arena/track.js';

const ship = (x: number, more: Partial<Ship> = {}): Ship => ({ ...newShip(0, x, 500), vx: 200, angle: 0, ...more });

/** A track of a ship that goes 200 units a second from x = 100 at time 0, with states up to `until` ms. */
function track(until: number): Track {
  const made = new Track(0, ship(100));
  for (let time = 40; time <= until; time += 40) made.push(time, ship(100 + time * 0.2));
  return made;
}

test('between two states it is in between', () => {
  const at = track(400).at(130, 0.016);
  assert.ok(Math.abs(at.x - 126) < 0.001);
});

test('angles turn the short way', () => {
  const made = new Track(0, ship(100, { angle: 3 }));
  made.push(100, ship(100, { angle: -3 }));
  assert.ok(Math.abs(Math.abs(made.at(50, 0.016).angle) - Math.PI) < 0.01);
});

test('without news it goes on for a moment, then waits', () => {
  const made = track(200);
  assert.ok(Math.abs(made.at(250, 0.016).x - 150) < 0.001);
  assert.equal(made.at(2_000, 0.016).x, made.at(1_000, 0.016).x);
  assert.ok(made.at(1_000, 0.016).x < 170);
});

test('a wrong guess is slid away: at no frame a jump, and in the end the true place', () => {
  const made = track(200);
  let last = made.at(200, 0.016).x;
  for (let time = 216; time <= 320; time += 16) last = made.at(time, 0.016).x;
  // It had stopped at once at 200 ms, and that comes late.
  made.push(205, ship(140, { vx: 0 }));
  made.push(310, ship(140, { vx: 0 }));
  let biggest = 0;
  for (let time = 336; time <= 1_200; time += 16) {
    const { x } = made.at(time, 0.016);
    biggest = Math.max(biggest, Math.abs(x - last));
    last = x;
  }
  assert.ok(biggest < 6, `largest step ${biggest}`);
  assert.ok(Math.abs(last - 140) < 0.1);
});

test('who comes back elsewhere is there at once', () => {
  const made = track(200);
  made.at(200, 0.016);
  made.push(240, ship(1_100, { vx: 0 }));
  assert.equal(made.at(210, 0.016).x, 1_100, 'far away');
  made.push(280, ship(1_150, { downs: 1, vx: 0 }));
  assert.equal(made.at(250, 0.016).x, 1_150, 'or near');
});

test('old news changes nothing, and what is kept is bounded', () => {
  const made = track(200);
  made.push(120, ship(900));
  assert.equal(made.newest, 200);
  for (let time = 240; time < 40_000; time += 40) made.push(time, ship(100));
  assert.equal(made.newest, 39_960);
});

test('after a time in which nothing was drawn it is where it is, without a slide over the field', () => {
  const made = track(200);
  made.at(100, 0.016);
  for (let time = 240; time < 60_000; time += 40) made.push(time, ship(100 + (time % 5_000) * 0.2));
  assert.ok(Math.abs(made.at(59_920, 59.8).x - (100 + 4_920 * 0.2)) < 0.01);
});

test('the clock follows a corrected one without ever going back, and is set after a long time', () => {
  const clock = new Clock();
  let shown = clock.follow(1_000, 0);
  assert.equal(shown, 1_000);
  // The true clock is put back by 80 ms.
  for (let now = 936; now < 6_000; now += 16) {
    const next = clock.follow(now, 16);
    assert.ok(next > shown && next - shown < 17.1, `${next - shown}`);
    shown = next;
  }
  assert.ok(Math.abs(shown - 5_992) < 1);
  assert.equal(clock.follow(90_000, 16), 90_000);
});
