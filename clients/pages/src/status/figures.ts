/** What `GET /v1/status` tells once a second. Sizes in bytes, durations in ms, all rates per second. */

/** The machine's processors. */
export interface Cpu {
  /** How busy the machine is, 0 to 1. */
  usage: number;
  cores: number;
  /** How many of the cores the server uses. */
  process: number;
  /** Averages of 1, 5 and 15 minutes. */
  load: [number, number, number];
}

/** The machine's memory, and the server's share of it. */
export interface Memory {
  total: number;
  used: number;
  process: number;
}

/** The disk on which the server works, and what it reads and writes. */
export interface Disk {
  total: number;
  used: number;
  read: number;
  written: number;
}

/** Who is connected. */
export interface Connections {
  websocket: number;
  events: number;
  poll: number;
  /** Those who read what this page reads. */
  status?: number;
  sessions: number;
  /** Sessions without a socket, which may still come back. */
  lost: number;
  /** The ceiling. */
  most: number;
}

/** What the rooms hold. */
export interface Rooms {
  rooms: number;
  members: number;
  spectators: number;
  log_bytes: number;
}

/** What goes in and out. */
export interface Traffic {
  received: { frames: number; bytes: number };
  sent: { frames: number; bytes: number };
  moves: number;
  events: number;
  signals: number;
}

/** How fast the server answers. */
export interface Latency {
  /** Round trips to the clients; without any there are no figures. */
  rtt: { count: number; p50?: number; p95?: number; max?: number };
  /** How much later than asked for the server's own clock wakes it. */
  lag: number;
}

/** The events of the stream, by name. */
export interface Figures {
  cpu: Cpu;
  memory: Memory;
  disk: Disk;
  connections: Connections;
  rooms: Rooms;
  traffic: Traffic;
  latency: Latency;
}

/** The name of an event. */
export type Name = keyof Figures;

/** Whoever is connected, whatever for. */
export const open = ({ websocket, events, poll, status = 0 }: Connections): number =>
  websocket + events + poll + status;
