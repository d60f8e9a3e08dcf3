import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { User } from '../spec.ts';
import { type Accounts, accountOf, withPassword, withUser } from './accounts.ts';
import type { GuestText } from './root.ts';

const file = (text: string, mode = 0o644): GuestText => ({ text, mode, uid: 0, gid: 42 });

const debian: Accounts = {
  passwd: file('root:x:0:0:root:/root:/bin/bash\nweb:x:1000:1000::/srv:/bin/sh\n'),
  group: file('root:x:0:\nsudo:x:27:\nweb:x:1000:\nadm:x:4:syslog\n'),
  shadow: file('root:*:20000:0:99999:7:::\nweb:!:1:2:3:4:5:6:\n', 0o640),
  gshadow: file('root:*::\nsudo:*::\n', 0o640),
};
const user = (name: string, more: Partial<User> = {}): User => ({ name, groups: [], sshKeys: [], ...more });
const linesOf = (text: GuestText | undefined) => (text?.text ?? '').split('\n').filter(line => line !== '');

describe('a user', () => {
  test('is added with a group, a shadow entry and the first free ID', () => {
    const made = withUser(
      debian,
      user('ann', { groups: ['sudo', 'adm'], passwordHash: '$6$h' }),
      '/bin/bash',
      7,
    );
    assert.equal(linesOf(made.passwd).at(-1), 'ann:x:1001:1001::/home/ann:/bin/bash');
    assert.deepEqual(linesOf(made.group).slice(1), [
      'sudo:x:27:ann',
      'web:x:1000:',
      'adm:x:4:syslog,ann',
      'ann:x:1001:',
    ]);
    assert.equal(linesOf(made.shadow).at(-1), 'ann:$6$h:7:0:99999:7:::');
    assert.deepEqual(linesOf(made.gshadow), ['root:*::', 'sudo:*::ann', 'ann:!::']);
    assert.deepEqual({ ...made.shadow, text: '' }, { ...debian.shadow, text: '' });
    assert.deepEqual(accountOf(made, 'ann'), { name: 'ann', uid: 1001, gid: 1001, home: '/home/ann' });
  });

  test('that is there keeps its ID, home and shell, and gets groups and the password', () => {
    const made = withUser(debian, user('web', { groups: ['sudo'], passwordHash: '$y$h' }), '/bin/bash', 9);
    assert.equal(made.passwd?.text, debian.passwd?.text);
    assert.equal(linesOf(made.shadow)[1], 'web:$y$h:9:2:3:4:5:6:');
    assert.deepEqual(
      withUser(made, user('web', { groups: ['sudo'], passwordHash: '$y$h' }), '/bin/bash', 9),
      made,
    );
  });

  test('that cannot be is refused', () => {
    const cases: User[] = [
      user('Ann'),
      user('a:b'),
      user('x\nroot2:x:0:0::/:'),
      user('ann', { uid: 1000 }),
      user('ann', { groups: ['wheel'] }),
      user('ann', { shell: '/bin/sh:x' }),
      user('ann', { passwordHash: 'x:0:\n' }),
    ];
    for (const each of cases)
      assert.throws(() => withUser(debian, each, '/bin/sh', 1), { code: 'ERR_GUEST_USER' }, each.name);
  });
});

describe('a password', () => {
  test('is put where passwd points to it from then on', () => {
    const old: Accounts = {
      passwd: file('root:*:0:0:root:/root:/bin/bash\n'),
      shadow: file('systemd-network:!*:1::::::\n', 0),
    };
    const made = withPassword(old, 'root', '$6$h', 3);
    assert.equal(made.passwd?.text, 'root:x:0:0:root:/root:/bin/bash\n');
    assert.equal(made.shadow?.text, 'systemd-network:!*:1::::::\nroot:$6$h:3:0:99999:7:::\n');
    assert.equal(made.shadow?.mode, 0);
  });

  test('of nobody is refused', () => {
    assert.throws(() => withPassword(debian, 'ann', '$6$h', 1), { code: 'ERR_GUEST_USER' });
  });
});

test('whatever else the files of a tree hold stays as it was, byte for byte', () => {
  const noise = fc
    .string({ unit: fc.constantFrom('a', 'é', ':', ' ', '#', '+', '\xff', '0') })
    .filter(line => line !== '' && !/^(ann|root|sudo):/.test(line));
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 8 }), all => {
      const text = (own: string) => file([own, ...all, ''].join('\n'));
      const before: Accounts = {
        passwd: text('root:x:0:0:root:/root:/bin/bash'),
        group: text('sudo:x:27:'),
        shadow: text('root:*:1::::::'),
        gshadow: text('sudo:*::'),
      };
      const after = withUser(before, user('ann', { groups: ['sudo'], passwordHash: '$6$h' }), '/bin/sh', 1);
      for (const name of ['passwd', 'group', 'shadow', 'gshadow'] as const)
        assert.deepEqual(linesOf(after[name]).slice(1, all.length + 1), all);
    }),
  );
});
