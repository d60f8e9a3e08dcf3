import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { plainSpec } from '../../test/harness/machine-spec.ts';
import { formatTreeSource } from '../image/tree/source.ts';
import { formatMachine } from './document.ts';
import { shownFields } from './list.ts';
import type { TreeSource } from './spec.ts';
import { formatAddress } from './status.ts';

const paths = fc.stringMatching(/^\/[\w '"#:.{}&*!%@`,-]{1,40}$/).filter(path => path.trim() === path);

const sources = fc.oneof(
  fc.record({ kind: fc.constant('base' as const), name: fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,20}$/) }),
  fc.record({ kind: fc.constant('directory' as const), path: paths }),
  fc.constant<TreeSource>({ kind: 'arch' }),
);

test('what a list shows of a machine is what its file says, however YAML writes it', async () => {
  await fc.assert(
    fc.asyncProperty(sources, fc.array(fc.ipV4()), async (from, addresses) => {
      const network = {
        kind: 'private',
        interfaces: [
          {
            kind: 'bridge',
            bridge: 'br0',
            name: 'host0',
            addresses: addresses.map(address => `${address}/24`),
            gateways: [],
            dns: ['9.9.9.9'],
          },
        ],
      } as const;
      const document = await formatMachine({ ...plainSpec, from, network });
      const shown = shownFields(document);
      assert.deepEqual([shown.from, shown.addresses], [formatTreeSource(from), addresses]);
    }),
  );
});

test('addresses are written in their shortest form', () => {
  assert.equal(formatAddress([10, 0, 0, 2]), '10.0.0.2');
  assert.equal(formatAddress([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]), 'fd00::2');
});
