/** The companies of the price board. All of them are invented, and so is everything that happens to them. */

/** A company whose shares are traded. */
export interface Company {
  symbol: string;
  name: string;
  /** What a share costs when the market opens for the first time. */
  price: number;
  /** How much its price wanders in a second, as a share of it. */
  unrest: number;
}

/** In the order of the board. */
export const COMPANIES: readonly Company[] = [
  { symbol: 'ALDR', name: 'Alder Rail', price: 84.2, unrest: 0.0005 },
  { symbol: 'BRNE', name: 'Borne Salt', price: 31.75, unrest: 0.0006 },
  { symbol: 'CIRR', name: 'Cirrus Kites', price: 12.4, unrest: 0.0011 },
  { symbol: 'DUNE', name: 'Dune Glass', price: 147.1, unrest: 0.0006 },
  { symbol: 'FJRD', name: 'Fjord Ferries', price: 58.9, unrest: 0.0005 },
  { symbol: 'GLIM', name: 'Glimmer Lamps', price: 23.05, unrest: 0.0008 },
  { symbol: 'HEDG', name: 'Hedgerow Teas', price: 9.85, unrest: 0.0009 },
  { symbol: 'LOOM', name: 'Loom & Thread', price: 402.5, unrest: 0.0004 },
  { symbol: 'MOSS', name: 'Mossbank', price: 66.6, unrest: 0.0007 },
  { symbol: 'NOVA', name: 'Nova Orreries', price: 218.3, unrest: 0.001 },
  { symbol: 'PIPR', name: 'Piper Drones', price: 41.15, unrest: 0.0012 },
  { symbol: 'QUIL', name: 'Quill & Ink', price: 17.6, unrest: 0.0006 },
];

/** By symbol. */
export const COMPANY: ReadonlyMap<string, Company> = new Map(COMPANIES.map((company) => [company.symbol, company]));
