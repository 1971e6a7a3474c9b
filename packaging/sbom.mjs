// The software bill of materials of a release (CycloneDX): what cargo-sbom says of the crates, on standard input, and the
// npm packages that the pages in the binary are built of. Usage: sbom.mjs CREATED < crates.json, with a time in seconds.
import { readFileSync } from 'node:fs';

const bill = JSON.parse(readFileSync(0, 'utf8'));
const { packages } = JSON.parse(readFileSync(new URL('../clients/pages/package-lock.json', import.meta.url), 'utf8'));

// Who ran the tool, and a number for this run, would make each bill another one.
delete bill.metadata.authors;
delete bill.serialNumber;
bill.metadata.timestamp = new Date(Number(process.argv[2]) * 1000).toISOString();

for (const [path, { version, license, dev, link }] of Object.entries(packages)) {
  const name = path.split('node_modules/').at(-1);
  if (!path.includes('node_modules/') || dev || link) continue;
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  bill.components.push({ type: 'library', name, version, purl, licenses: [{ expression: license }], 'bom-ref': purl });
}
if (!bill.components.some(({ purl }) => purl?.startsWith('pkg:npm/'))) throw new Error('the pages are built of nothing');
const by = (key) => (one, other) => (one[key] < other[key] ? -1 : 1);
bill.components.sort(by('bom-ref'));
bill.dependencies.sort(by('ref'));
for (const { dependsOn } of bill.dependencies) dependsOn?.sort();
process.stdout.write(`${JSON.stringify(bill, null, 1)}\n`);
