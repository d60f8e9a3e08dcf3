import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePlace } from './copy.ts';

test('what stands before a colon is a lab, unless it looks like a path', () => {
  assert.deepEqual(parsePlace('lab:/etc/hosts'), { lab: 'lab', path: '/etc/hosts' });
  assert.deepEqual(parsePlace('lab:notes'), { lab: 'lab', path: '/root/notes' });
  assert.deepEqual(parsePlace('./lab:x'), { lab: null, path: './lab:x' });
  assert.deepEqual(parsePlace('/a:b'), { lab: null, path: '/a:b' });
  assert.deepEqual(parsePlace('dir/file'), { lab: null, path: 'dir/file' });
});
