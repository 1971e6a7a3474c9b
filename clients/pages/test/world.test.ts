/** The arena's rules: moving, firing, being hit, coming back. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIELD, freeColour, FULL_HEALTH, newShip, ROCKS, SHIP_RADIUS, turn } from '../src/arena/ship.js';
import {
  addShot,
  newWorld,
  place,
  SHOT_LIFE,
  SHOT_SPEED,
  shotAt,
  step,
  type Happening,
  type Input,
  type World,
} from '../src/arena/world.js';

const DT = 1 / 60;
const STILL: Input = { x: 0, y: 0, fire: false };
const start = (x = 200, y = 500): World => ({ ...newWorld(1, 0, { x, y }, 0), safeUntil: 0 });

/** Runs the world for so many ms, by a clock that begins at `from`; gives what happened. */
function run(world: World, input: Input, ms: number, from = 0, delay = 0): Happening[] {
  const told: Happening[] = [];
  for (let now = from; now < from + ms; now += DT * 1000) {
    step(
      world,
      input,
      DT,
      now,
      now - delay,
      [],
      () => 0.5,
      (happening) => told.push(happening),
    );
  }
  return told;
}

test('a ship goes where it is steered, turns there, and comes to rest', () => {
  const world = start();
  run(world, { x: 0, y: -1, fire: false }, 500);
  assert.ok(world.ship.y < 420, `it went up, to ${world.ship.y}`);
  assert.ok(Math.abs(turn(world.ship.angle, -Math.PI / 2)) < 0.01);
  run(world, STILL, 3_000);
  assert.ok(Math.hypot(world.ship.vx, world.ship.vy) < 1);
});

test('a ship stays in the field and out of the rocks, however long it pushes', () => {
  for (const [x, y] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
    [0.7, 0.7],
    [1, -0.4],
  ] as const) {
    const world = start(480, 400);
    run(world, { x, y, fire: false }, 6_000);
    const { ship } = world;
    assert.ok(
      ship.x >= SHIP_RADIUS &&
        ship.x <= FIELD.width - SHIP_RADIUS &&
        ship.y >= SHIP_RADIUS &&
        ship.y <= FIELD.height - SHIP_RADIUS,
    );
    for (const rock of ROCKS)
      assert.ok(Math.hypot(ship.x - rock.x, ship.y - rock.y) > rock.radius + SHIP_RADIUS - 0.01);
  }
});

test('shots have a rhythm, rise by one, and end after their time', () => {
  const world = start(100, 950);
  world.ship.angle = 0;
  const numbers = run(world, { ...STILL, fire: true }, 1_000).flatMap((each) =>
    each.kind === 'shot' ? [each.shot.number] : [],
  );
  assert.deepEqual(numbers, [1, 2, 3, 4]);
  assert.equal(world.ship.shots, 4);
  run(world, STILL, SHOT_LIFE + 50, 1_000);
  assert.equal(world.shots.length, 0);
});

test('a shot bends a little to somebody who is nearly in line, and to nobody else', () => {
  const target = newShip(1, 500, 560);
  const fired = (others: ReturnType<typeof newShip>[]) => {
    const world = start(200, 500);
    world.ship.angle = 0;
    let angle = Number.NaN;
    step(
      world,
      { ...STILL, fire: true },
      DT,
      0,
      0,
      others,
      () => 0.5,
      (each) => each.kind === 'shot' && ({ angle } = each.shot),
    );
    return angle;
  };
  assert.ok(Math.abs(fired([target]) - Math.atan2(60, 300)) < 0.001);
  assert.equal(fired([{ ...target, y: 900 }]), 0, 'not in line');
  assert.equal(fired([{ ...target, health: 0 }]), 0, 'out of the game');
});

test('the shot of another takes health once, at the place where it is shown, and the last one takes the ship', () => {
  const world = start(500, 120);
  const shoot = (number: number, born: number) =>
    addShot(world, { by: 2, number, x: 400, y: 120, angle: 0, born, spent: false });
  assert.equal(shoot(1, 0), true);
  assert.equal(shoot(1, 0), false, 'told twice is one');
  // It is drawn 100 ms back, so it meets the ship 100 ms later than it would by the clock.
  const way = ((500 - SHIP_RADIUS - 400) / SHOT_SPEED) * 1000;
  assert.deepEqual(run(world, STILL, way + 60, 0, 100), []);
  assert.deepEqual(run(world, STILL, 100, way + 60, 100), [{ kind: 'hit', by: 2, number: 1, down: false }]);
  assert.equal(world.ship.health, FULL_HEALTH - 1);
  for (let number = 2; number <= FULL_HEALTH; number += 1) {
    world.ship.x = 500;
    shoot(number, number * 1_000);
    const [hit] = run(world, STILL, 600, number * 1_000, 100);
    assert.deepEqual(hit, { kind: 'hit', by: 2, number, down: number === FULL_HEALTH });
  }
  assert.equal(world.ship.health, 0);
  assert.equal(world.ship.downs, 1);
  const [back] = run(world, STILL, 3_000, FULL_HEALTH * 1_000 + 600);
  assert.deepEqual(back, { kind: 'back' });
  assert.equal(world.ship.health, FULL_HEALTH);
});

test('who has just come back, or is away, cannot be hit; who fires can', () => {
  const shoot = (world: World) => addShot(world, { by: 2, number: 1, x: 440, y: 120, angle: 0, born: 0, spent: false });
  const safe = { ...start(500, 120), safeUntil: 1_500 };
  shoot(safe);
  assert.deepEqual(run(safe, STILL, 400), []);
  const away = start(500, 120);
  away.ship.away = true;
  shoot(away);
  assert.deepEqual(run(away, { x: 1, y: 0, fire: true }, 400), [], 'nor does it move or fire');
  const fires = { ...start(500, 120), safeUntil: 1_500 };
  shoot(fires);
  assert.deepEqual(
    run(fires, { ...STILL, fire: true }, 250).map(({ kind }) => kind),
    ['shot', 'hit'],
  );
});

test('a rock stops a shot, and the shots that are kept are bounded', () => {
  const world = start(500, 500);
  const rock = ROCKS[0];
  assert.ok(rock);
  addShot(world, { by: 2, number: 1, x: rock.x + rock.radius + 30, y: rock.y, angle: Math.PI, born: 0, spent: false });
  run(world, STILL, 200);
  assert.equal(world.shots.length, 0);
  for (let number = 1; number <= 1_000; number += 1)
    addShot(world, { by: 2, number, x: 0, y: 0, angle: 0, born: 0, spent: false });
  assert.ok(world.shots.length <= 128);
});

test('a place for a ship is in the field, in no rock, and away from others', () => {
  let seed = 1;
  const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  for (let times = 0; times < 200; times += 1) {
    const { x, y } = place([{ x: 200, y: 200 }], random);
    assert.ok(x > 50 && y > 50 && x < FIELD.width - 50 && y < FIELD.height - 50);
    for (const rock of ROCKS) assert.ok(Math.hypot(rock.x - x, rock.y - y) > rock.radius + SHIP_RADIUS);
    assert.ok(Math.hypot(200 - x, 200 - y) > 200);
  }
});

test('where a shot is follows from the time alone', () => {
  const out = { x: 0, y: 0 };
  shotAt({ by: 1, number: 1, x: 10, y: 20, angle: Math.PI / 2, born: 1_000, spent: false }, 1_500, out);
  assert.ok(Math.abs(out.x - 10) < 1e-9 && Math.abs(out.y - 20 - SHOT_SPEED / 2) < 1e-9);
});

test('who comes gets the wanted colour, or the next that is free', () => {
  assert.equal(freeColour(3, []), 3);
  assert.equal(freeColour(3, [3, 4]), 5);
  assert.equal(freeColour(7, [7]), 0);
  assert.equal(freeColour(2, [0, 1, 2, 3, 4, 5, 6, 7]), 2);
});
