/**
 * The trading floor: this tab as a member of the room. All tabs meet here to agree on who runs the market, and say
 * which alerts they wait for; the one that runs it writes the prices into the room.
 */

import { connect, Emitter, RequestError } from 'rallypoint-client';
import type { Author, Client, Room, TokenSource } from 'rallypoint-client';
import { server } from '../shell/address.js';
import { reasonOf } from '../shell/status.js';
import { type Alert, isMet, packed, unpacked } from './alert.js';
import { Market } from './market.js';
import { KIND, type Prices, read, WHOLE_EVERY, written } from './prices.js';
import { SILENCE_MS, Succession } from './succession.js';
import { Teller } from './teller.js';

export const ROOM = 'ticker';

/** Prices that the server has not taken yet: with more of them the market waits. */
const MOST_UNTAKEN = 4;
const FORBIDDEN = 705;

/** Who runs the market, as one may call it. */
export interface Runner {
  label: string;
  isUs: boolean;
}

export class Floor extends Emitter<{ changed: undefined }> {
  readonly #client: Client;
  readonly #market = new Market(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
  readonly #succession = new Succession();
  readonly #teller = new Teller();
  readonly #beat = new Worker(new URL('./beat.ts', import.meta.url), { type: 'module' });
  #room: Room | undefined;
  #alerts: readonly Alert[] = [];
  /** Whether our token lets us write prices, as far as we know. */
  #may = true;
  #begun = false;
  #runs = false;
  #runner: { peer: string | undefined; label: string } | undefined;
  /** When prices came last, by whomever. */
  #heard = -Infinity;
  #beaten = performance.now();
  #tick = 0;
  #untaken = 0;
  #fault: string | undefined;

  constructor(token: TokenSource) {
    super();
    this.#client = connect({ url: server, token });
    this.#client.on('status', (status) => {
      if (status.state === 'closed') this.#fault ??= reasonOf(status);
      this.#change();
    });
    void this.#join();
    this.#beat.onmessage = () => this.#pass();
  }

  /** How the way to the room is, which is another one than that of the prices. */
  get state(): Client['status']['state'] {
    return this.#client.status.state;
  }

  /** Why this tab takes no part in the market, if it does not. */
  get fault(): string | undefined {
    if (this.#client.missing.length) return 'No WebSocket gets through here, so this tab only looks on.';
    return this.#fault;
  }

  /** Whether this tab takes no part at all: it does not run the market, and nobody learns what it waits for. */
  get isOut(): boolean {
    return this.#client.missing.length > 0 || (this.#fault !== undefined && !this.#room);
  }

  /** Whether nobody's alerts can be told, because our token does not allow it. */
  get isMute(): boolean {
    return this.#teller.isRefused;
  }

  /** Who gave out the last prices, unless that was too long ago. */
  get runner(): Runner | undefined {
    if (this.#runs) return { label: 'this tab', isUs: true };
    if (!this.#runner || performance.now() - this.#heard > SILENCE_MS) return undefined;
    return { label: this.#runner.label, isUs: false };
  }

  /** How many tabs are here. */
  get count(): number {
    return this.#room?.count ?? 0;
  }

  /** The server's clock, Unix ms. */
  get now(): number {
    return this.#client.serverTime();
  }

  /**
   * Prices as the board has them, perhaps from before this tab came: a market that begins goes on from there. Nothing
   * begins before `begin`.
   */
  learn({ tick, quotes }: Prices): void {
    if (this.#runs || this.#heard > -Infinity) return;
    this.#tick = Math.max(this.#tick, tick);
    for (const quote of quotes) this.#market.take(quote);
  }

  /** What there was to learn is learnt. */
  begin(): void {
    this.#begun = true;
  }

  /** These alerts are waited for from now on. */
  wait(alerts: readonly Alert[]): void {
    this.#alerts = alerts;
    this.#say();
  }

  close(): void {
    this.#beat.terminate();
    this.#client.close();
  }

  async #join(): Promise<void> {
    try {
      await this.#client.ready;
      const room = await this.#client.join(ROOM);
      this.#room = room;
      room.on('event', ({ kind, data, from, missed }) => kind === KIND && this.#hear(data, from, missed));
      for (const name of ['shown', 'members', 'peer-joined', 'peer-left', 'presence'] as const) {
        room.on(name, () => this.#seat());
      }
      room.on('left', ({ message }) => {
        this.#room = undefined;
        this.#fault ??= `This tab is no longer in the room: ${message}.`;
        this.#change();
      });
      this.#say();
      this.#seat();
    } catch (error) {
      if (error instanceof RequestError && error.code === FORBIDDEN) {
        this.#fault = 'Your token lets you look on, but not take part.';
      } else this.#fault ??= error instanceof Error ? error.message : `${error}`;
      this.#change();
    }
  }

  /** Says in our public state that we can run the market, and what we wait for. */
  #say(): void {
    // Lost with the session, it is sent again with the next one.
    this.#room?.update({ market: this.#may, alerts: packed(this.#alerts) }).catch(() => {});
  }

  #seat(): void {
    const room = this.#room;
    if (!room) return;
    const candidates = [...room.members.values()].filter(({ state }) => state?.['market'] === true);
    this.#succession.seat(candidates.map(({ peer, order = 0 }) => ({ peer, order })), room.you.peer, performance.now());
    this.#change();
  }

  #hear(data: unknown, from: Author | undefined, missed: boolean): void {
    const prices = read(data);
    if (!prices || !this.#room) return;
    this.#tick = Math.max(this.#tick, prices.tick);
    if (from?.peer === this.#room.you.peer) return;
    for (const quote of prices.quotes) this.#market.take(quote);
    if (missed) return;
    this.#heard = performance.now();
    this.#succession.hear(from?.peer, this.#heard);
    const isNew = this.#runner?.peer !== from?.peer || !this.#runner;
    this.#runner = { peer: from?.peer, label: from?.name ?? from?.user ?? 'somebody' };
    if (isNew) this.#change();
  }

  /** A beat: if the market is ours, it goes on. */
  #pass(): void {
    const now = performance.now();
    const passed = now - this.#beaten;
    this.#beaten = now;
    const room = this.#room;
    const isReady = this.#begun && this.#may && this.state === 'connected';
    const runs = room !== undefined && isReady && this.#succession.isOurs(now);
    const begins = runs && !this.#runs;
    if (runs !== this.#runs) {
      this.#runs = runs;
      this.#change();
    }
    if (!runs || this.#untaken >= MOST_UNTAKEN) return;
    this.#tick += 1;
    const whole = begins || this.#tick % WHOLE_EVERY === 0;
    const traded = this.#market.step(passed);
    const quotes = whole ? [...this.#market.quotes.values()] : traded;
    if (quotes.length) void this.#publish(room, written({ tick: this.#tick, whole, quotes }));
    this.#look(room);
  }

  async #publish(room: Room, prices: Record<string, unknown>): Promise<void> {
    this.#untaken += 1;
    try {
      await room.publish(KIND, prices);
    } catch (error) {
      // Prices that were lost are followed by newer ones; only who may write none lets the next one do it.
      if (!(error instanceof RequestError) || error.code !== FORBIDDEN) return;
      this.#may = false;
      this.#fault = 'Your token does not let you write prices: another tab has to run the market.';
      this.#say();
    } finally {
      this.#untaken -= 1;
    }
  }

  /** Whose alert has come true is told so. */
  #look(room: Room): void {
    for (const { user, state } of room.members.values()) {
      for (const alert of unpacked(state?.['alerts'])) {
        const price = this.#market.quotes.get(alert.symbol)?.price;
        if (price !== undefined && isMet(alert, price)) void this.#teller.tell(user, alert, price);
      }
    }
  }

  #change(): void {
    this.emit('changed', undefined);
  }
}
