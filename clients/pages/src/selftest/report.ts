/** The whole as a text for a bug report. It touches no page, network or clock, and lets no token through. */

import type { Level, Verdict } from './verdicts.js';

/** Of one check. */
export interface Result {
  title: string;
  verdict: Verdict;
}

export interface Circumstances {
  /** Of the pages, which is the server's. */
  version: string;
  /** When it was done. */
  at: Date;
  /** The address of the page. */
  page: string;
  browser: string;
  isSecure: boolean;
  /** Where the token is from. */
  token: string;
}

const MARKS: Record<Level, string> = { good: 'good', warning: 'WARNING', bad: 'BAD' };
/** Longer lines are broken. */
const LINE = 88;

/** The worst level of all. */
export function worst(results: readonly Result[]): Level {
  const has = (level: Level) => results.some(({ verdict }) => verdict.level === level);
  return has('bad') ? 'bad' : has('warning') ? 'warning' : 'good';
}

/** One sentence on the whole. */
export function summary(results: readonly Result[]): string {
  const of = (level: Level) => results.filter(({ verdict }) => verdict.level === level).map(({ title }) => title);
  const [bad, warnings] = [of('bad'), of('warning')];
  if (!bad.length && !warnings.length) return 'Everything gets through from here.';
  const parts = [];
  if (bad.length) parts.push(`Not working: ${bad.join(', ')}.`);
  if (warnings.length) parts.push(`To look at: ${warnings.join(', ')}.`);
  return parts.join(' ');
}

/** Without anything that looks like a token or a credential. */
export function redacted(text: string): string {
  return text
    .replace(/eyJ[\w-]*(\.[\w-]*)*/g, '[token]')
    .replace(/\b(token|credential|password|secret)=[^\s&#]+/gi, '$1=[redacted]');
}

/** A page's address without what may hold a token. */
export function bare(address: string): string {
  const url = new URL(address);
  return `${url.origin}${url.pathname}`;
}

function wrapped(text: string, indent: string): string {
  const lines = [''];
  // Before lines are broken: what is hidden takes less room.
  for (const word of redacted(text).split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line && indent.length + line.length + 1 + word.length > LINE) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines.map((line) => indent + line).join('\n');
}

export function report(results: readonly Result[], around: Circumstances): string {
  const { version, at, page, browser, isSecure, token } = around;
  const lines = [
    `rallypoint ${version}, self-test of ${at.toISOString()}`,
    `page     ${bare(page)}${isSecure ? '' : ' (not a secure context: no camera, no clipboard)'}`,
    `browser  ${browser}`,
    `token    ${token}`,
    `whole    ${summary(results)}`,
  ];
  for (const { title, verdict } of results) {
    lines.push('', `[${MARKS[verdict.level]}] ${title}`, wrapped(verdict.text, '  '));
    if (verdict.todo) lines.push(wrapped(`To do: ${verdict.todo}`, '  '));
    for (const [label, value] of verdict.facts) lines.push(`    ${label}: ${value}`);
  }
  return redacted(`${lines.join('\n')}\n`);
}
