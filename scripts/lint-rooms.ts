/**
 * Writes `.oxlintrc.json`'s dependency direction: a room imports only from the rooms above it.
 * Run by hand when a room is added: `node scripts/lint-rooms.ts`.
 */
import { writeFileSync } from 'node:fs';

/** Top first. `main` and `cli` see every room; no room sees them. */
const rooms = ['host', 'systemd', 'image', 'engine', 'network', 'app', 'machine', 'pod', 'kubelet', 'lab'];

const overrides = rooms.map((room, index) => ({
  files: [`src/${room}/**`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            group: [...rooms.slice(index + 1), 'cli'].map(below => `**/${below}/**`).concat('**/main.ts'),
            message: `src/${room} imports only from the rooms above it: ${rooms.slice(0, index).join(', ') || 'none'}`,
          },
        ],
      },
    ],
  },
}));

const config = {
  plugins: ['typescript', 'unicorn', 'import', 'promise'],
  categories: { correctness: 'error', suspicious: 'error' },
  options: { typeAware: true },
  rules: {
    // The promise of a test is the runner's to wait for.
    'typescript/no-floating-promises': [
      'error',
      {
        allowForKnownSafeCalls: [
          { from: 'package', package: 'node:test', name: ['test', 'suite', 'it', 'describe'] },
        ],
      },
    ],
    'typescript/no-misused-promises': 'error',
    'typescript/no-explicit-any': 'error',
    'typescript/no-non-null-assertion': 'error',
    'typescript/switch-exhaustiveness-check': 'error',
    'no-await-in-loop': 'off',
    'no-underscore-dangle': 'off',
    'no-shadow': 'off',
    'import/no-unassigned-import': 'off',
    'import/no-cycle': 'error',
    'typescript/consistent-return': 'off',
    'unicorn/consistent-function-scoping': 'off',
    'unicorn/no-array-sort': 'off',
    'no-control-regex': 'off',
    'typescript/no-unsafe-type-assertion': 'off',
    'typescript/no-unnecessary-type-parameters': 'off',
    'preserve-caught-error': 'off',
  },
  overrides,
  ignorePatterns: ['dist', 'node_modules', '.cache'],
};
writeFileSync('.oxlintrc.json', `${JSON.stringify(config, null, 2)}\n`);
