/** A running game on the screen: one loop that moves the players of this tab and draws what ours sees. */

import { at, setText } from '../shell/el.js';
import { Bot } from './bot.js';
import { Hud, milliseconds } from './hud.js';
import type { Session } from './session.js';
import { type Actor, type Scene, Stage } from './stage.js';
import { Steering } from './steering.js';

/** What a frame may make up for at most, ms. */
const LONGEST_FRAME = 250;
/** How long the hint stays for those who only look on, ms. */
const HINT_MS = 12_000;

export class Match {
  readonly hud: Hud;
  readonly #stage: Stage;
  readonly #steering: Steering;
  readonly #end = new AbortController();
  readonly #actors: Actor[] = [];
  readonly #pilot: Bot | undefined;
  /** Demo players that live in this tab. */
  readonly #demos = new Map<Session, Bot>();
  readonly #scene: Scene;
  #last = performance.now();
  #frame = 0;
  readonly #began = performance.now();

  constructor(
    readonly session: Session,
    { bot }: { bot: boolean },
  ) {
    const { signal } = this.#end;
    const { player, room } = session;
    this.hud = new Hud(session, signal);
    this.#stage = new Stage(at('canvas', HTMLCanvasElement), signal);
    // On a screen that is touched the stick and the button lie on the field.
    this.#stage.covered = at('stick').clientHeight;
    this.#steering = new Steering(at('stick'), at('knob'), at('fire'), signal);
    this.#pilot = bot ? new Bot() : undefined;
    this.#scene = {
      actors: this.#actors,
      shots: player.world.shots,
      own: player.world.handle,
      now: 0,
      shown: 0,
      colourOfShot: ({ by }) => this.#colourOf(by),
    };
    at('hint').hidden = bot;
    player.on('shot', ({ x, y, colour }) => this.#stage.burst(x, y, colour, 4, 90), { signal });
    player.on('back', ({ x, y, colour }) => this.#stage.burst(x, y, colour, 16, 160), { signal });
    player.on(
      'hit',
      ({ x, y, colour, down, by, whom, mine, me }) => {
        this.#stage.burst(x, y, colour, down ? 46 : 10, down ? 340 : 200);
        if (me) this.#stage.shake(down ? 16 : 6);
        if (!down) return;
        this.hud.say(me ? `${by} shot you down` : mine ? `You shot ${whom} down` : `${by} shot ${whom} down`);
        if (me) setText(at('down'), `Shot down by ${by}`);
      },
      { signal },
    );
    room.on('peer-joined', ({ peer }) => this.hud.say(`${peer.name ?? peer.user} has come`), { signal });
    room.on('peer-left', ({ peer }) => this.hud.say(`${peer.name ?? peer.user} has left`), { signal });
    document.addEventListener('visibilitychange', () => this.#look(), { signal });
    this.#look();
    this.#frame = requestAnimationFrame((now) => this.#run(now));
  }

  get demos(): ReadonlyMap<Session, Bot> {
    return this.#demos;
  }

  /** Our player and the demo players of this tab. */
  get sessions(): Session[] {
    return [this.session, ...this.#demos.keys()];
  }

  add(demo: Session): void {
    this.#demos.set(demo, new Bot());
    demo.player.lane = this.session.player.lane;
  }

  remove(demo: Session): void {
    this.#demos.delete(demo);
    demo.end();
  }

  /** Ends the game: we leave. */
  end(): void {
    cancelAnimationFrame(this.#frame);
    this.#end.abort();
    for (const session of this.sessions) session.end();
    this.#demos.clear();
  }

  /** A tab in the background gets no frames: until it is looked at again its ships stand still. */
  #look(): void {
    const away = document.visibilityState === 'hidden';
    this.#steering.release();
    this.#last = performance.now();
    for (const { player } of this.sessions) player.away = away;
  }

  #colourOf(handle: number): number {
    const { player } = this.session;
    if (handle === player.world.handle) return player.ship.colour;
    for (const { member, track } of player.others.values()) if (member.handle === handle) return track.ship.colour;
    return 0;
  }

  #run(now: number): void {
    this.#frame = requestAnimationFrame((next) => this.#run(next));
    const passed = Math.min(LONGEST_FRAME, Math.max(0, now - this.#last));
    this.#last = now;
    const { player } = this.session;
    player.frame(
      passed,
      () => this.#pilot?.think(player.ship, this.#ships(this.session), now / 1000) ?? this.#steering.read(),
    );
    for (const [demo, bot] of this.#demos)
      demo.player.frame(passed, () => bot.think(demo.player.ship, this.#ships(demo), now / 1000));
    this.#draw(passed);
    this.hud.update(now);
  }

  *#ships({ player }: Session) {
    for (const { track } of player.others.values()) yield track.ship;
  }

  #draw(passed: number): void {
    const { player, room } = this.session;
    const actors = this.#actors;
    actors.length = 0;
    const slow = player.slow.on;
    for (const { member, track, ghost, lane } of player.others.values()) {
      const note = slow ? `${lane}, ${milliseconds(Math.max(0, player.now - track.newest))} old` : undefined;
      actors.push({ ship: track.ship, label: member.label, you: false, ghost: ghost?.ship, note });
    }
    actors.push({ ship: player.ship, label: room.you.label, you: true });
    this.#scene.own = player.world.handle;
    this.#scene.now = player.now;
    this.#scene.shown = player.shown;
    this.#stage.draw(this.#scene, passed / 1000);
    const isDown = player.ship.health === 0;
    const down = at('down');
    if (down.hidden === isDown) down.hidden = !isDown;
    if (!at('hint').hidden && (this.#steering.used || this.#last - this.#began > HINT_MS)) at('hint').hidden = true;
  }
}
