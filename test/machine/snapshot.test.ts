// runs in a lab: bookworm trixie
// Copies of machines that are overlays on a base.
import { testCopies } from './copies.ts';

testCopies();
