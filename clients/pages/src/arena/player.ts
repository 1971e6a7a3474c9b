/**
 * One player of an arena, with or without a screen: sends its ship and what happens to it, keeps the others' as they
 * come. All of the game goes through here and over the relay; the server knows nothing of it.
 */

import { type Client, Emitter, type Member, type Move, type Room } from 'rallypoint-client';
import { Clock } from './clock.js';
import { freeColour, MOST_PLAYERS, type Ship } from './ship.js';
import { SlowLine } from './slow.js';
import { DELAY, Track } from './track.js';
import { decode, encodeHit, encodeShip, encodeShot, KEY } from './wire.js';
import { addShot, type Input, newWorld, place, SAFE_MS, step, type World } from './world.js';

/** States a second. */
const SEND_HZ = 25;
/** A step is at most so long, s: what a tab in the background missed is not made up for. */
const LONGEST = 0.1;
const STEP = 1 / 60;
/** How often an arena that sends on the reliable lane also leaves a state for latecomers and watchers, ms. */
const STILL_MS = 1_000;
/** Hits that are remembered, so that none counts twice. */
const MOST_COUNTED = 256;

export type LaneName = 'latest' | 'reliable';

/** Another player's ship. */
export interface Other {
  member: Member;
  track: Track;
  /** Where the other lane would show it, while the line is slow. */
  ghost: Track | undefined;
  /** The lane its newest state came on. */
  lane: LaneName;
}

/** What a player tells. */
export interface PlayerEvents {
  shot: { x: number; y: number; colour: number };
  /** Somebody was hit, perhaps shot down; `mine` and `me` tell whether by us, or we. */
  hit: { x: number; y: number; colour: number; down: boolean; by: string; whom: string; mine: boolean; me: boolean };
  back: { x: number; y: number; colour: number };
  /** Somebody came into view, or went. */
  others: ReadonlyMap<string, Other>;
}

/** Counters, running. */
export interface Counts {
  out: Record<LaneName, number>;
  in: Record<LaneName, number>;
  /** Moves that were not this game's. */
  strange: number;
}

/** Whether somebody came before somebody else. */
function cameBefore(one: Member, other: Member): boolean {
  const [first, second] = [one.order ?? 0, other.order ?? 0];
  return first < second || (first === second && one.peer < other.peer);
}

/** Whether we are among those who may play: the first eight that came. */
export function hasSeat(room: Room): boolean {
  const { you } = room;
  return [...room.members.values()].filter((each) => !each.you && cameBefore(each, you)).length < MOST_PLAYERS;
}

export class Player extends Emitter<PlayerEvents> {
  readonly world: World;
  readonly others = new Map<string, Other>();
  readonly slow = new SlowLine();
  readonly counts: Counts = { out: { latest: 0, reliable: 0 }, in: { latest: 0, reliable: 0 }, strange: 0 };
  /** How our ship is sent. */
  lane: LaneName = 'latest';
  readonly #clock = new Clock();
  readonly #ships: Ship[] = [];
  readonly #counted = new Set<string>();
  readonly #end = new AbortController();
  #now: number;
  #rest = 0;
  #sendDue = 0;
  #stillDue = 0;

  constructor(
    readonly client: Client,
    readonly room: Room,
    colour: number,
    readonly random: () => number = Math.random,
  ) {
    super();
    const { signal } = this.#end;
    this.#now = client.serverTime();
    this.#learn();
    const at = place(
      [...this.others.values()].map(({ track }) => track.ship),
      random,
    );
    this.world = newWorld(room.you.handle, freeColour(colour, this.#colours()), at, this.#now);
    room.onMove((move) => this.#came(move), { signal });
    room.on('members', () => this.#prune(), { signal });
    room.on('peer-left', () => this.#prune(), { signal });
    room.on(
      'shown',
      () => {
        this.world.handle = room.you.handle;
        this.#prune();
        this.#learn();
      },
      { signal },
    );
  }

  /** The others' colours. */
  *#colours(): Iterable<number> {
    for (const { track } of this.others.values()) yield track.ship.colour;
  }

  /** The server's clock, smooth; and the moment at which others are drawn. */
  get now(): number {
    return this.#now;
  }
  get shown(): number {
    return this.#now - DELAY;
  }

  get ship(): Ship {
    return this.world.ship;
  }

  /** Our player looks elsewhere: the ship stands still and cannot be hit. */
  set away(away: boolean) {
    const { ship } = this.world;
    if (ship.away === away) return;
    ship.away = away;
    ship.vx = ship.vy = 0;
    this.world.safeUntil = this.client.serverTime() + SAFE_MS;
    this.#send();
  }

  /** Switches the slow line. */
  setSlow(on: boolean): void {
    this.slow.set(on, (move) => this.#take(move));
    for (const other of this.others.values())
      other.ghost = on ? new Track(other.track.newest, other.track.ship) : undefined;
  }

  /** How old what is known of the others' ships is on average, ms, by lane; `undefined` without others. */
  ages(): Record<LaneName, number | undefined> {
    const sums = { latest: 0, reliable: 0 };
    const counts = { latest: 0, reliable: 0 };
    const add = (lane: LaneName, track: Track | undefined) => {
      if (!track) return;
      sums[lane] += Math.max(0, this.#now - track.newest);
      counts[lane] += 1;
    };
    for (const { track, ghost, lane } of this.others.values()) {
      if (track.ship.away) continue;
      add(lane, track);
      add(lane === 'latest' ? 'reliable' : 'latest', ghost);
    }
    const mean = (lane: LaneName) => (counts[lane] ? sums[lane] / counts[lane] : undefined);
    return { latest: mean('latest'), reliable: mean('reliable') };
  }

  /** Goes on by `passed` ms; `think` is asked what to do. */
  frame(passed: number, think: () => Input): void {
    this.#now = this.#clock.follow(this.client.serverTime(), passed);
    const seconds = Math.min(LONGEST, passed / 1000);
    if (this.slow.on)
      this.slow.drain(
        seconds,
        (move) => this.#take(move),
        (move) => this.#takeGhost(move),
      );
    this.#ships.length = 0;
    for (const { track, ghost } of this.others.values()) {
      this.#ships.push(track.at(this.shown, passed / 1000));
      ghost?.at(this.shown, passed / 1000);
    }
    const input = think();
    this.#rest += seconds;
    while (this.#rest >= STEP) {
      this.#rest -= STEP;
      const now = this.#now - this.#rest * 1000;
      step(this.world, input, STEP, now, now - DELAY, this.#ships, this.random, (happening) => this.#tell(happening));
    }
    this.#sendDue -= passed;
    if (this.#sendDue > 0) return;
    this.#sendDue = Math.max(this.#sendDue + 1000 / SEND_HZ, 0);
    this.#send();
  }

  /** Ends playing; the room and the client are the caller's. */
  stop(): void {
    this.#end.abort();
    this.others.clear();
  }

  #send(): void {
    if (this.client.status.state !== 'connected' || this.room.isLeft) return;
    const data = encodeShip(this.world.ship);
    if (this.lane === 'latest') return this.#out('latest', data, KEY.ship);
    this.#out('reliable', data, KEY.ship);
    if (this.#now < this.#stillDue) return;
    this.#stillDue = this.#now + STILL_MS;
    this.#out('latest', data, KEY.still);
  }

  #out(lane: LaneName, data: number[], key: number): void {
    if (this.room.isLeft) return;
    this.counts.out[lane] += 1;
    try {
      if (lane === 'latest') this.room.send(data, { key });
      else this.room.sendReliable(data, { key });
    } catch {
      // The queue of a connection that is lost is full: whoever did not see this shot will not miss it.
      this.counts.out[lane] -= 1;
    }
  }

  #tell(happening: Parameters<Parameters<typeof step>[7]>[0]): void {
    const { ship } = this.world;
    const { x, y, colour } = ship;
    if (happening.kind === 'back') return this.emit('back', { x, y, colour });
    if (happening.kind === 'shot') {
      const { shot } = happening;
      this.#out('reliable', encodeShot(shot.number, shot.x, shot.y, shot.angle), KEY.shot);
      return this.emit('shot', { x: shot.x, y: shot.y, colour });
    }
    const { by, number, down } = happening;
    this.#out('reliable', encodeHit(by, number, down), KEY.hit);
    this.emit('hit', { x, y, colour, down, by: this.#label(by), whom: this.room.you.label, mine: false, me: true });
  }

  #label(handle: number): string {
    for (const member of this.room.members.values()) if (member.handle === handle) return member.label;
    return 'somebody';
  }

  /** What the room has of those who were here before us. */
  #learn(): void {
    for (const [peer, moves] of this.room.state) {
      const member = this.room.members.get(peer);
      if (!member || member.you) continue;
      for (const move of moves.values()) if (move.key === KEY.ship || move.key === KEY.still) this.#see(member, move);
    }
  }

  #prune(): void {
    for (const peer of this.others.keys()) {
      const member = this.room.members.get(peer);
      const other = this.others.get(peer);
      if (member && other) other.member = member;
      else this.others.delete(peer);
    }
    this.emit('others', this.others);
  }

  #came(move: Move): void {
    this.counts.in[move.reliable ? 'reliable' : 'latest'] += 1;
    if (this.slow.on) this.slow.push(move);
    else this.#take(move);
  }

  #takeGhost(move: Move): void {
    const read = move.key === KEY.ship ? decode(move.data) : undefined;
    if (read?.kind === 'ship' && move.from) this.others.get(move.from.peer)?.ghost?.push(move.time, read.ship);
  }

  #see(member: Member, move: Move): void {
    const read = decode(move.data);
    if (read?.kind !== 'ship') return void (this.counts.strange += 1);
    const other = this.others.get(member.peer);
    if (other) {
      other.lane = move.reliable ? 'reliable' : 'latest';
      return other.track.push(move.time, read.ship);
    }
    if (this.others.size >= MOST_PLAYERS - 1) return;
    const track = new Track(move.time, read.ship);
    const ghost = this.slow.on ? new Track(move.time, read.ship) : undefined;
    this.others.set(member.peer, { member, track, ghost, lane: move.reliable ? 'reliable' : 'latest' });
    // Of two who came at once and chose alike, the later one takes another colour. (Who comes has no ship yet.)
    const own = (this.world as World | undefined)?.ship;
    if (own?.colour === read.ship.colour && cameBefore(member, this.room.you)) {
      own.colour = freeColour(own.colour, this.#colours());
    }
    this.emit('others', this.others);
  }

  #take(move: Move): void {
    const { from } = move;
    // The state for latecomers says nothing new to those who are here.
    if (!from || from.you || move.key === KEY.still) return;
    if (move.key === KEY.ship) return this.#see(from, move);
    const read = decode(move.data);
    const other = this.others.get(from.peer);
    if (read?.kind === 'shot' && move.reliable) {
      const { number, x, y, angle } = read;
      if (addShot(this.world, { by: move.handle, number, x, y, angle, born: move.time, spent: false })) {
        this.emit('shot', { x, y, colour: other?.track.ship.colour ?? 0 });
      }
    } else if (read?.kind === 'hit' && move.reliable) this.#hit(move, from, read.by, read.number, read.down);
    else this.counts.strange += 1;
  }

  /** Somebody says that it was hit. */
  #hit(move: Move, whom: Member, by: number, number: number, down: boolean): void {
    const mine = by === this.world.handle;
    const key = `${move.handle} ${by} ${number}`;
    if (this.#counted.has(key) || by === move.handle) return;
    this.#counted.add(key);
    if (this.#counted.size > MOST_COUNTED)
      for (const oldest of this.#counted) {
        this.#counted.delete(oldest);
        break;
      }
    const shot = this.world.shots.find((each) => each.by === by && each.number === number);
    if (shot) shot.spent = true;
    const { ship } = this.world;
    // Only a shot that we have fired scores.
    if (mine && down && number <= ship.shots) ship.score += 1;
    const { x = 0, y = 0, colour = 0 } = this.others.get(whom.peer)?.track.ship ?? {};
    this.emit('hit', { x, y, colour, down, by: this.#label(by), whom: whom.label, mine, me: false });
  }
}
