// runs in a lab: bookworm trixie
// Copies of machines that are overlays on a base.
import { describe } from 'node:test';
import { testCopies } from './copies.ts';
import { testStandstill } from './standstill.ts';

describe('copies of overlays', testCopies);

describe('overlays that are copied', testStandstill);
