/** The way to the server and its clock, measured as NTP does it (RFC 5905 section 8). */

const SAMPLES = 8;

export class Clock {
  /** The server's clock minus ours, ms, by the sample with the shortest round trip: it is the truest. */
  offset = 0;
  /** The last round trip, ms. */
  rtt: number | undefined;
  #samples: { rtt: number; offset: number }[] = [];

  /** A new connection: the way may be another, and its clock another server's. */
  begin(time: number, now: number): void {
    this.#samples = [];
    this.offset = time - now;
  }

  /** Takes a `pong`: sent by us at `t`, received and answered by the server, back `now`. */
  add(t: number, received: number, sent: number, now: number): void {
    this.rtt = Math.max(0, now - t - (sent - received));
    this.#samples = [...this.#samples.slice(1 - SAMPLES), { rtt: this.rtt, offset: (received - t + (sent - now)) / 2 }];
    this.offset = this.#samples.reduce((best, sample) => (sample.rtt < best.rtt ? sample : best)).offset;
  }
}
